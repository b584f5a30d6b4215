#include "libs/docker/http.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include <absl/status/status.h>
#include <curl/curl.h>
#include <fmt/format.h>
#include <pthread.h>

namespace dstack::docker {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr std::size_t kMaxBodyBytes = std::size_t{32} << 20;
constexpr std::chrono::milliseconds kConnectTimeout{5000};
// Upper bound of one wait; everything that matters wakes the wait up earlier.
constexpr int kPollMs = 1000;

void InitializeCurl() {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
}

// One call: an easy handle with everything its callbacks need. Stays where it is while it runs.
class Transfer {
 public:
  Transfer(const Endpoint& endpoint, HttpRequest request)
      : request_(std::move(request)), endpoint_(endpoint), easy_(curl_easy_init()) {
    Configure();
  }
  ~Transfer() {
    curl_slist_free_all(headers_);
    curl_easy_cleanup(easy_);
  }
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  CURL* handle() const { return easy_; }

  // Moment at which the silence becomes too long; far away without an idle limit.
  SteadyClock::time_point idle_deadline() const {
    if (!request_.idle_timeout) return SteadyClock::time_point::max();
    return last_data_ + *request_.idle_timeout;
  }

  absl::Status IdleError() const {
    return absl::DeadlineExceededError(fmt::format(
        "the engine was silent for {} s",
        std::chrono::duration_cast<std::chrono::seconds>(*request_.idle_timeout).count()));
  }

  absl::StatusOr<HttpResponse> Finish(CURLcode code) {
    if (code == CURLE_OPERATION_TIMEDOUT) {
      return absl::DeadlineExceededError(
          fmt::format("no answer of the engine at {} in time", endpoint_.ToString()));
    }
    if (is_too_large_) {
      return absl::ResourceExhaustedError(
          fmt::format("the engine's answer is longer than {} bytes", kMaxBodyBytes));
    }
    if (code != CURLE_OK) {
      return absl::UnavailableError(
          fmt::format("engine at {}: {}",
                      endpoint_.ToString(),
                      error_[0] != '\0' ? error_ : curl_easy_strerror(code)));
    }
    long status_code = 0;
    curl_easy_getinfo(easy_, CURLINFO_RESPONSE_CODE, &status_code);
    return HttpResponse{.status_code = static_cast<int>(status_code), .body = std::move(body_)};
  }

 private:
  void Configure() {
    url_ = endpoint_.base_url + request_.path;
    Set(CURLOPT_URL, url_.c_str());
    if (!endpoint_.socket_path.empty()) {
      Set(CURLOPT_UNIX_SOCKET_PATH, endpoint_.socket_path.c_str());
    }
    // A proxy of the environment is meant for the outside world, never for the engine.
    Set(CURLOPT_PROXY, "");
    Set(CURLOPT_NOSIGNAL, 1L);
    Set(CURLOPT_ERRORBUFFER, error_);
    Set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(kConnectTimeout.count()));
    if (request_.timeout) {
      Set(CURLOPT_TIMEOUT_MS,
          static_cast<long>(std::max<std::int64_t>(request_.timeout->count(), 1)));
    }
    Set(CURLOPT_WRITEFUNCTION, &Transfer::OnData);
    Set(CURLOPT_WRITEDATA, this);
    if (request_.method == Method::kPost) ConfigurePost();
    if (request_.method == Method::kDelete) Set(CURLOPT_CUSTOMREQUEST, "DELETE");
    for (const std::string& line : request_.headers) AddHeader(line);
    Set(CURLOPT_HTTPHEADER, headers_);
  }

  void ConfigurePost() {
    Set(CURLOPT_POST, 1L);
    Set(CURLOPT_POSTFIELDS, request_.body.data());
    Set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request_.body.size()));
    if (!request_.body.empty()) AddHeader("Content-Type: " + request_.content_type);
    // Without this curl waits a second for "100 Continue" before it sends a larger body.
    AddHeader("Expect:");
  }

  void AddHeader(const std::string& line) { headers_ = curl_slist_append(headers_, line.c_str()); }

  template <typename Value>
  void Set(CURLoption option, Value value) {
    curl_easy_setopt(easy_, option, value);
  }

  static std::size_t OnData(char* data, std::size_t size, std::size_t count, void* self) {
    return static_cast<Transfer*>(self)->Append({data, size * count});
  }

  std::size_t Append(std::string_view data) {
    last_data_ = SteadyClock::now();
    long status_code = 0;
    curl_easy_getinfo(easy_, CURLINFO_RESPONSE_CODE, &status_code);
    if (request_.on_data && status_code < 300) {
      request_.on_data(data);
      return data.size();
    }
    if (body_.size() + data.size() > kMaxBodyBytes) {
      is_too_large_ = true;
      return 0;
    }
    body_.append(data);
    return data.size();
  }

  HttpRequest request_;
  Endpoint endpoint_;
  CURL* easy_;
  std::string url_;
  curl_slist* headers_ = nullptr;
  std::string body_;
  bool is_too_large_ = false;
  SteadyClock::time_point last_data_ = SteadyClock::now();
  char error_[CURL_ERROR_SIZE] = {};
};

// Result of a finished transfer of the set, if any.
std::optional<std::pair<CURL*, CURLcode>> NextFinished(CURLM* multi) {
  int remaining = 0;
  while (const CURLMsg* message = curl_multi_info_read(multi, &remaining)) {
    if (message->msg == CURLMSG_DONE) {
      return std::pair{message->easy_handle, message->data.result};
    }
  }
  return std::nullopt;
}

int PollTime(SteadyClock::time_point deadline) {
  if (deadline == SteadyClock::time_point::max()) return kPollMs;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - SteadyClock::now());
  return static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, kPollMs));
}

// Drives one transfer to its end. A multi handle, because only its wait can be woken by another
// thread: the progress callback of a plain transfer runs once a second.
absl::StatusOr<HttpResponse> Drive(CURLM* multi, Transfer& transfer, const std::stop_token& stop) {
  int running = 0;
  while (true) {
    if (stop.stop_requested()) return absl::CancelledError("the call was cancelled");
    curl_multi_perform(multi, &running);
    if (const auto finished = NextFinished(multi)) return transfer.Finish(finished->second);
    if (SteadyClock::now() >= transfer.idle_deadline()) return transfer.IdleError();
    curl_multi_poll(multi, nullptr, 0, PollTime(transfer.idle_deadline()), nullptr);
  }
}

}  // namespace

absl::StatusOr<HttpResponse> Perform(const Endpoint& endpoint,
                                     const HttpRequest& request,
                                     const std::stop_token& stop) {
  InitializeCurl();
  CURLM* multi = curl_multi_init();
  Transfer transfer(endpoint, request);
  curl_multi_add_handle(multi, transfer.handle());
  absl::StatusOr<HttpResponse> response = absl::UnknownError("");
  {
    const std::stop_callback wake(stop, [multi] { curl_multi_wakeup(multi); });
    response = Drive(multi, transfer, stop);
  }
  curl_multi_remove_handle(multi, transfer.handle());
  curl_multi_cleanup(multi);
  return response;
}

class AsyncHttp::Loop {
 public:
  explicit Loop(Endpoint endpoint) : endpoint_(std::move(endpoint)), multi_(Init()) {
    thread_ = std::jthread([this](const std::stop_token& stop) { Run(stop); });
    pthread_setname_np(thread_.native_handle(), "docker-wait");
  }

  ~Loop() {
    thread_.request_stop();
    curl_multi_wakeup(multi_);
    thread_.join();
    for (auto& [handle, call] : running_) {
      curl_multi_remove_handle(multi_, handle);
      call.callback(absl::CancelledError("the client is closing"));
    }
    for (auto& call : incoming_) call.callback(absl::CancelledError("the client is closing"));
    running_.clear();
    curl_multi_cleanup(multi_);
  }

  void Start(HttpRequest request, Callback callback) {
    auto transfer = std::make_unique<Transfer>(endpoint_, std::move(request));
    {
      const std::lock_guard lock(mutex_);
      incoming_.push_back({std::move(transfer), std::move(callback)});
    }
    curl_multi_wakeup(multi_);
  }

 private:
  struct Call {
    std::unique_ptr<Transfer> transfer;
    Callback callback;
  };

  static CURLM* Init() {
    InitializeCurl();
    return curl_multi_init();
  }

  void Run(const std::stop_token& stop) {
    int running = 0;
    while (!stop.stop_requested()) {
      TakeIncoming();
      curl_multi_perform(multi_, &running);
      while (const auto finished = NextFinished(multi_))
        Complete(finished->first, finished->second);
      curl_multi_poll(multi_, nullptr, 0, kPollMs, nullptr);
    }
  }

  void TakeIncoming() {
    std::vector<Call> calls;
    {
      const std::lock_guard lock(mutex_);
      calls.swap(incoming_);
    }
    for (Call& call : calls) {
      CURL* handle = call.transfer->handle();
      curl_multi_add_handle(multi_, handle);
      running_.emplace(handle, std::move(call));
    }
  }

  void Complete(CURL* handle, CURLcode code) {
    curl_multi_remove_handle(multi_, handle);
    auto node = running_.extract(handle);
    absl::StatusOr<HttpResponse> response = node.mapped().transfer->Finish(code);
    node.mapped().callback(std::move(response));
  }

  const Endpoint endpoint_;
  CURLM* const multi_;
  std::mutex mutex_;
  std::vector<Call> incoming_;     // guarded by mutex_
  std::map<CURL*, Call> running_;  // only on thread_
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
