#include "services/server/logs/log_ingest.h"

#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <thread>
#include <utility>

#include "fmt/format.h"
#include "libs/base/backoff.h"
#include "libs/base/mutex.h"
#include "libs/base/random.h"
#include "libs/base/status.h"
#include "libs/exec/thread_pool.h"
#include "libs/telemetry/log.h"

namespace dstack::server {
namespace {

using std::chrono::milliseconds;

// For each record beside its bytes.
constexpr std::size_t kRecordOverhead = 64;

std::size_t WeightOf(const LogStore::Append& append) {
  std::size_t weight = kRecordOverhead;
  for (const common::v1::LogRecord& record : append.batch.records())
    weight += record.data().size() + kRecordOverhead;
  return weight;
}

}  // namespace

// One thread with its own queue.
class LogIngest::Writer {
 public:
  Writer(LogStore& store, const Observer& observer, const Options& options, std::size_t index)
      : store_(store),
        observer_(observer),
        options_(options),
        backoff_({milliseconds(50), milliseconds(2'000)}, random_) {
    thread_ = std::jthread([this, index](const std::stop_token& stop) {
      exec::SetThreadName(fmt::format("log-ingest-{}", index));
      Work(stop);
    });
  }

  ~Writer() {
    thread_.request_stop();
    {
      base::MutexLock lock(mutex_);
      changed_.NotifyAll();
    }
    thread_.join();
    for (Item& item : queue_) item.done(absl::CancelledError("the server is stopping"));
  }

  void Add(LogStore::Append append, Done done) {
    const std::size_t weight = WeightOf(append);
    pending_ += weight;
    base::MutexLock lock(mutex_);
    queue_.push_back({std::move(append), std::move(done), weight});
    changed_.NotifyOne();
  }

  std::size_t pending() const { return pending_; }

 private:
  struct Item {
    LogStore::Append append;
    Done done;
    std::size_t weight = 0;
  };

  std::vector<Item> Take(const std::stop_token& stop) {
    std::vector<Item> items;
    std::size_t weight = 0;
    base::MutexLock lock(mutex_);
    while (queue_.empty() && !stop.stop_requested()) changed_.Wait(mutex_);
    while (!queue_.empty() &&
           (items.empty() || weight + queue_.front().weight <= options_.commit_bytes)) {
      weight += queue_.front().weight;
      items.push_back(std::move(queue_.front()));
      queue_.pop_front();
    }
    return items;
  }

  void Work(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      std::vector<Item> items = Take(stop);
      if (!items.empty()) Store(std::move(items), stop);
    }
  }

  // All in one transaction; if one of them is refused for good, each in its own, so that it fails
  // alone.
  void Store(std::vector<Item> items, const std::stop_token& stop) {
    std::vector<LogStore::Append> appends;
    appends.reserve(items.size());
    for (Item& item : items) appends.push_back(std::move(item.append));
    const auto stored = AppendWithRetry(appends, stop);
    if (stored.ok() && stored->size() == items.size()) {
      for (std::size_t i = 0; i < items.size(); ++i) Finish(items[i], appends[i], (*stored)[i]);
      return;
    }
    if (items.size() == 1) {
      Finish(items[0],
             appends[0],
             stored.ok() ? base::Internal("the log store answered for another batch")
                         : stored.status());
      return;
    }
    for (std::size_t i = 0; i < items.size(); ++i) {
      std::vector<Item> one;
      items[i].append = std::move(appends[i]);
      one.push_back(std::move(items[i]));
      Store(std::move(one), stop);
    }
  }

  absl::StatusOr<std::vector<std::uint64_t>> AppendWithRetry(
      const std::vector<LogStore::Append>& appends, const std::stop_token& stop) {
    while (true) {
      auto stored = store_.AppendAll(appends);
      if (stored.ok() || !base::IsTransient(stored.status())) {
        backoff_.Reset();
        return stored;
      }
      if (backoff_.attempt() == 0)
        telemetry::Warn("logs cannot be stored, trying again", {{"error", stored.status()}});
      base::MutexLock lock(mutex_);
      const auto until = base::DeadlineIn(backoff_.Next());
      while (!stop.stop_requested() && changed_.WaitUntil(mutex_, until)) {
      }
      if (stop.stop_requested()) return absl::CancelledError("the server is stopping");
    }
  }

  void Finish(Item& item, const LogStore::Append& append, absl::StatusOr<std::uint64_t> result) {
    pending_ -= item.weight;
    if (result.ok() && observer_) observer_(append);
    item.done(std::move(result));
  }

  LogStore& store_;
  const Observer observer_;
  const Options options_;
  base::SeededRandom random_;
  base::Backoff backoff_;
  std::atomic<std::size_t> pending_ = 0;
  base::Mutex mutex_;
  base::CondVar changed_;
  std::deque<Item> queue_ GUARDED_BY(mutex_);
  std::jthread thread_;
};

LogIngest::LogIngest(LogStore& store, Observer observer, Options options) : options_(options) {
  for (std::size_t i = 0; i < std::max<std::size_t>(1, options.writers); ++i) {
    writers_.push_back(std::make_unique<Writer>(store, observer, options, i));
  }
}

LogIngest::~LogIngest() = default;

void LogIngest::Append(LogStore::Append append, Done done) {
  const std::size_t index = std::hash<JobId>{}(append.job_id) % writers_.size();
  writers_[index]->Add(std::move(append), std::move(done));
}

bool LogIngest::HasRoom() const { return pending_bytes() < options_.pending_bytes; }

std::size_t LogIngest::pending_bytes() const {
  std::size_t sum = 0;
  for (const auto& writer : writers_) sum += writer->pending();
  return sum;
}

}  // namespace dstack::server
