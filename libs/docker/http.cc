#include "libs/docker/http.h"

#include <algorithm>
#include <mutex>
#include <thread>
#include <utility>

#include <absl/status/status.h>
#include <fmt/format.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/docker/transfer.h"

namespace dstack::docker {
namespace {

using SteadyClock = std::chrono::steady_clock;

// Wakes up a thread in poll(2).
class WakeEvent {
 public:
  WakeEvent() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  int fd() const { return fd_.get(); }
  void Wake() const {
    const std::uint64_t one = 1;
    // Fails only when it is awake anyway.
    static_cast<void>(::write(fd_.get(), &one, sizeof(one)) == 0);
  }
  void Clear() const {
    std::uint64_t count = 0;
    static_cast<void>(::read(fd_.get(), &count, sizeof(count)) == 0);
  }

 private:
  base::UniqueFd fd_;
};

int PollTimeMs(Transfer::TimePoint deadline) {
  if (deadline == Transfer::TimePoint::max()) return -1;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - SteadyClock::now());
  // Longer waits are cut; the loop around looks again.
  return static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 60'000));
}

}  // namespace

absl::StatusOr<HttpResponse> Perform(const Endpoint& endpoint,
                                     const HttpRequest& request,
                                     const std::stop_token& stop) {
  const WakeEvent wake;
  const std::stop_callback on_stop(stop, [&wake] { wake.Wake(); });
  Transfer transfer(endpoint, request);
  while (true) {
    if (stop.stop_requested()) return absl::CancelledError("the call was cancelled");
    if (auto outcome = transfer.Advance()) return *std::move(outcome);
    pollfd polled[] = {{.fd = wake.fd(), .events = POLLIN},
                       {.fd = transfer.fd(), .events = transfer.events()}};
    ::poll(polled, 2, PollTimeMs(transfer.deadline()));
  }
}

class AsyncHttp::Loop {
 public:
  explicit Loop(Endpoint endpoint) : endpoint_(std::move(endpoint)) {
    thread_ = std::jthread([this](const std::stop_token& stop) { Run(stop); });
    pthread_setname_np(thread_.native_handle(), "docker-wait");
  }

  ~Loop() {
    thread_.request_stop();
    wake_.Wake();
    thread_.join();
    TakeIncoming();
    for (const Call& call : running_) {
      call.callback(absl::CancelledError("the client is closing"));
    }
  }

  void Start(HttpRequest request, Callback callback) {
    {
      const std::lock_guard lock(mutex_);
      incoming_.push_back(
          {std::make_unique<Transfer>(endpoint_, std::move(request)), std::move(callback)});
    }
    wake_.Wake();
  }

 private:
  struct Call {
    std::unique_ptr<Transfer> transfer;
    Callback callback;
  };

  void Run(const std::stop_token& stop) {
    std::vector<pollfd> polled;
    while (true) {
      wake_.Clear();
      TakeIncoming();
      if (stop.stop_requested()) return;
      AdvanceAll();
      polled.assign(1, {.fd = wake_.fd(), .events = POLLIN});
      auto deadline = Transfer::TimePoint::max();
      for (const Call& call : running_) {
        polled.push_back({.fd = call.transfer->fd(), .events = call.transfer->events()});
        deadline = std::min(deadline, call.transfer->deadline());
      }
      ::poll(polled.data(), polled.size(), PollTimeMs(deadline));
    }
  }

  void TakeIncoming() {
    const std::lock_guard lock(mutex_);
    std::move(incoming_.begin(), incoming_.end(), std::back_inserter(running_));
    incoming_.clear();
  }

  // All of them, whether their descriptor is ready or not: a wasted recv() per waiting container
  // and event is cheap, and the ends of containers are rare.
  void AdvanceAll() {
    std::vector<Call> waiting;
    for (Call& call : running_) {
      if (auto outcome = call.transfer->Advance()) {
        call.callback(*std::move(outcome));
      } else {
        waiting.push_back(std::move(call));
      }
    }
    running_.swap(waiting);
  }

  const Endpoint endpoint_;
  const WakeEvent wake_;
  std::mutex mutex_;
  std::vector<Call> incoming_;  // guarded by mutex_
  std::vector<Call> running_;   // only on thread_
  std::jthread thread_;
};

AsyncHttp::AsyncHttp(Endpoint endpoint) : loop_(std::make_unique<Loop>(std::move(endpoint))) {}
AsyncHttp::~AsyncHttp() = default;

void AsyncHttp::Start(HttpRequest request, Callback callback) {
  loop_->Start(std::move(request), std::move(callback));
}

std::string UrlEscape(std::string_view value) {
  static constexpr std::string_view kPlain = "-._~";
  std::string escaped;
  for (const char c : value) {
    const bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                          (c >= '0' && c <= '9') || kPlain.find(c) != kPlain.npos;
    if (is_plain) {
      escaped.push_back(c);
    } else {
      escaped += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return escaped;
}

}  // namespace dstack::docker
