#include "services/shim/adapters/shared_pulls.h"

#include <algorithm>
#include <optional>
#include <thread>
#include <utility>

#include "libs/docker/pull_error.h"
#include "libs/exec/thread_pool.h"
#include "libs/telemetry/log.h"

namespace dstack::shim {
namespace {

// Waiters that are slow to write their log lose the middle of it rather than fill memory.
constexpr std::size_t kMaxPendingLog = std::size_t{1} << 20;

v1::PullProgress ToProto(const docker::PullTracker& tracker, int attempt) {
  v1::PullProgress progress;
  if (const auto totals = tracker.totals()) {
    progress.set_downloaded_bytes(totals->downloaded_bytes);
    progress.set_extracted_bytes(totals->extracted_bytes);
    progress.set_total_bytes(totals->total_bytes);
    progress.set_is_total_final(totals->is_total_final);
  }
  progress.set_layers_done(tracker.layers_done());
  progress.set_layers_total(tracker.layers_total());
  progress.set_attempt(static_cast<std::uint32_t>(attempt));
  return progress;
}

}  // namespace

// One pull and all who wait for it.
class SharedPulls::Flight {
 public:
  Flight(const PullFunction& pull, const PullPolicy& policy, base::Random& random)
      : pull_(pull), policy_(policy), random_(random) {}

  // Once.
  void Start(docker::PullOptions options) {
    thread_ = std::jthread([this, options = std::move(options)](const std::stop_token& stop) {
      exec::SetThreadName("image-pull");
      const absl::Status result = Run(options, stop);
      base::MutexLock lock(mutex_);
      result_ = result;
      changed_.NotifyAll();
    });
  }

  // Waits for the end and tells what happens meanwhile.
  absl::Status Wait(const PullObserver& observer, const std::stop_token& stop) {
    const std::stop_callback wake(stop, [this] {
      base::MutexLock lock(mutex_);
      changed_.NotifyAll();
    });
    std::uint64_t seen = 0;
    std::uint64_t log_seen = 0;
    while (true) {
      News news = Next(seen, log_seen, stop);
      if (observer.on_lines && !news.lines.empty()) observer.on_lines(news.lines);
      if (observer.on_progress && news.progress) observer.on_progress(*news.progress);
      if (news.result) return *news.result;
      if (stop.stop_requested()) return absl::CancelledError("the pull was cancelled");
    }
  }

  // Number of those who wait. Guarded by the owner's mutex.
  int waiters = 0;

 private:
  struct News {
    std::optional<v1::PullProgress> progress;
    std::string lines;
    std::optional<absl::Status> result;
  };

  News Next(std::uint64_t& seen, std::uint64_t& log_seen, const std::stop_token& stop) {
    base::MutexLock lock(mutex_);
    while (!result_ && seen == version_ && !stop.stop_requested()) changed_.Wait(mutex_);
    News news{.result = result_};
    if (seen != version_) news.progress = progress_;
    seen = version_;
    const std::uint64_t log_end = log_start_ + log_.size();
    const std::uint64_t from = std::max(log_seen, log_start_);
    news.lines = log_.substr(static_cast<std::size_t>(from - log_start_));
    log_seen = log_end;
    return news;
  }

  absl::Status Run(docker::PullOptions options, const std::stop_token& stop) {
    for (int attempt = 1;; ++attempt) {
      options.stall_limit = policy_.stall_limit;
      options.on_progress = [&](const docker::PullTracker& tracker) {
        Tell(ToProto(tracker, attempt));
      };
      options.on_line = [&](std::string_view line) { Append(line); };
      absl::Status status = pull_(options, stop);
      if (status.ok() || stop.stop_requested()) return status;
      Append(status.ToString());
      if (!docker::IsTemporaryPullError(status) || attempt >= policy_.max_attempts) return status;
      const auto delay = base::BackoffDelay(policy_.backoff, attempt - 1, random_);
      telemetry::Warn("a pull failed and is tried again",
                      {{"image", options.reference},
                       {"attempt", attempt},
                       {"delay_ms", delay.count()},
                       {"status", status}});
      Pause(delay, stop);
    }
  }

  void Pause(std::chrono::milliseconds delay, const std::stop_token& stop) {
    const std::stop_callback wake(stop, [this] {
      base::MutexLock lock(mutex_);
      changed_.NotifyAll();
    });
    const auto deadline = base::DeadlineIn(delay);
    base::MutexLock lock(mutex_);
    while (!stop.stop_requested() && changed_.WaitUntil(mutex_, deadline)) {
    }
  }

  void Tell(v1::PullProgress progress) {
    base::MutexLock lock(mutex_);
    progress_ = std::move(progress);
    ++version_;
    changed_.NotifyAll();
  }

  void Append(std::string_view line) {
    base::MutexLock lock(mutex_);
    log_.append(line).push_back('\n');
    if (log_.size() <= kMaxPendingLog) return;
    const std::size_t excess = log_.size() - kMaxPendingLog / 2;
    log_.erase(0, excess);
    log_start_ += excess;
  }

  const PullFunction& pull_;
  const PullPolicy& policy_;
  base::Random& random_;
  base::Mutex mutex_;
  base::CondVar changed_;
  v1::PullProgress progress_ GUARDED_BY(mutex_);
  std::uint64_t version_ GUARDED_BY(mutex_) = 0;
  // The end of what the engine said; the byte at its front has number log_start_.
  std::string log_ GUARDED_BY(mutex_);
  std::uint64_t log_start_ GUARDED_BY(mutex_) = 0;
  std::optional<absl::Status> result_ GUARDED_BY(mutex_);
  // Last: it ends before what it uses.
  std::jthread thread_;
};

SharedPulls::SharedPulls(PullFunction pull, PullPolicy policy, base::Random& random)
    : pull_(std::move(pull)), policy_(policy), random_(random) {}

SharedPulls::~SharedPulls() = default;

absl::Status SharedPulls::Pull(const std::string& reference,
                               const std::optional<docker::RegistryCredentials>& credentials,
                               const PullObserver& observer,
                               const std::stop_token& stop) {
  // Whoever has no right to an image must not get it from somebody else's pull.
  std::string key = reference;
  if (credentials) key += '\n' + docker::RegistryAuthHeader(*credentials);
  const auto flight = Join(key, reference, credentials);
  absl::Status status = flight->Wait(observer, stop);
  Leave(key, flight);
  return status;
}

std::shared_ptr<SharedPulls::Flight> SharedPulls::Join(
    const std::string& key,
    const std::string& reference,
    const std::optional<docker::RegistryCredentials>& credentials) {
  base::MutexLock lock(mutex_);
  auto& flight = flights_[key];
  const bool is_new = flight == nullptr;
  if (is_new) flight = std::make_shared<Flight>(pull_, policy_, random_);
  ++flight->waiters;
  if (is_new) flight->Start({.reference = reference, .credentials = credentials});
  return flight;
}

void SharedPulls::Leave(const std::string& key, const std::shared_ptr<Flight>& flight) {
  base::MutexLock lock(mutex_);
  const auto it = flights_.find(key);
  const bool is_known = it != flights_.end() && it->second == flight;
  // Whoever comes later begins a new one: this one is over, or about to be cut off. The last
  // reference, which is the caller's, stops and joins its thread.
  if (--flight->waiters == 0 && is_known) flights_.erase(it);
}

}  // namespace dstack::shim
