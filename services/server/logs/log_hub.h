#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "dstack/common/v1/log.pb.h"

#include "libs/base/ids.h"
#include "libs/base/mutex.h"
#include "services/server/ports/notifications.h"

namespace dstack::server {

// Wakes the followers of logs, and keeps the newest batches of followed logs in memory, so that a
// follower of a live job needs no database. The replica that owns the host publishes what it has
// made durable; the others learn of it by notification and read storage. Logs that nobody follows
// cost one look-up each. Thread-safe; never blocks.
class LogHub {
 public:
  struct Limits {
    std::size_t bytes_per_log = 2 << 20;
    std::size_t bytes_total = 128 << 20;
  };

  // Why a follower is woken.
  enum class Wake {
    kRecords,    // records or the end may be there
    kState,      // the run of the job changed
    kLookAgain,  // something may have been missed: look at everything
  };
  // Called without a lock held, on any thread, also once after the Tap is gone if that happens at
  // the same time. Must return at once.
  using WakeFunction = std::function<void(Wake)>;

  explicit LogHub(Notifications& notifications);
  LogHub(Notifications& notifications, Limits limits);
  ~LogHub();
  LogHub(const LogHub&) = delete;
  LogHub& operator=(const LogHub&) = delete;

  // Records of one source that have become durable here, in order; with is_end, nothing will
  // follow.
  void Publish(const JobId& job, const common::v1::LogBatch& batch, bool is_end);

  // What is known of a log.
  struct Position {
    std::uint64_t last_sequence = 0;  // highest one announced; 0 while nothing was
    bool is_ended = false;
  };

  // A follower's interest in one log. Ends when destroyed, which must be before the hub is.
  class Tap {
   public:
    ~Tap();
    Tap(const Tap&) = delete;
    Tap& operator=(const Tap&) = delete;
    // Records right after `sequence` from memory, about `max_bytes`; nullopt when they are not
    // there.
    std::optional<common::v1::LogBatch> ReadAfter(std::uint64_t sequence,
                                                  std::size_t max_bytes) const;
    Position position() const;

   private:
    friend class LogHub;
    Tap(LogHub& hub, JobId job, common::v1::LogSource source, std::uint64_t id)
        : hub_(hub), job_(std::move(job)), source_(source), id_(id) {}
    LogHub& hub_;
    const JobId job_;
    const common::v1::LogSource source_;
    const std::uint64_t id_;
  };
  std::unique_ptr<Tap> Follow(const RunId& run,
                              const JobId& job,
                              common::v1::LogSource source,
                              WakeFunction wake);

  // Wakes everybody with kLookAgain: the safety net behind the notifications, called every few
  // seconds.
  void WakeAll();

  // Bytes held in memory.
  std::size_t bytes() const;

 private:
  using Key = std::pair<JobId, int>;
  struct Follower {
    RunId run;
    WakeFunction wake;
  };
  struct Topic {
    std::deque<common::v1::LogBatch> batches;
    std::deque<std::size_t> batch_bytes;
    std::size_t bytes = 0;
    Position position;
    std::map<std::uint64_t, Follower> followers;
  };

  void OnLogNotification(const std::string& payload);
  void OnRunNotification(const std::string& payload);
  void Remember(Topic& topic, const common::v1::LogBatch& batch) REQUIRES(mutex_);
  void Forget(Topic& topic) REQUIRES(mutex_);
  static std::vector<WakeFunction> WakesOf(const Topic& topic);
  void Leave(const Key& key, std::uint64_t id);

  const Limits limits_;
  mutable base::Mutex mutex_;
  std::map<Key, Topic> topics_ GUARDED_BY(mutex_);
  std::multimap<RunId, std::pair<Key, std::uint64_t>> followers_of_run_ GUARDED_BY(mutex_);
  std::size_t bytes_ GUARDED_BY(mutex_) = 0;
  std::uint64_t next_id_ GUARDED_BY(mutex_) = 1;
  // Last: end before the rest goes.
  std::unique_ptr<Subscription> log_subscription_;
  std::unique_ptr<Subscription> run_subscription_;
};

}  // namespace dstack::server
