#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/base/mutex.h"
#include "libs/exec/executor.h"
#include "services/server/ports/notifications.h"
#include "services/server/ports/run_store.h"

namespace dstack::server {

// Tells any number of watchers what a run has become. A change is loaded once per process however
// many watch, and changes that come while a load is under way lead to one more. Thread-safe.
class WatchHub {
 public:
  using Snapshot = std::shared_ptr<const RunAndJobs>;
  // Called on the pool, for one run never twice at the same time; must return soon.
  using Callback = std::function<void(const absl::StatusOr<Snapshot>& run)>;

  // All outlive this object; the pool must have run dry before it goes.
  WatchHub(RunStore& runs, Notifications& notifications, exec::Executor& pool);
  ~WatchHub();
  WatchHub(const WatchHub&) = delete;
  WatchHub& operator=(const WatchHub&) = delete;

  // Ends when destroyed; one last call may be under way then. Goes before the hub.
  class Watch {
   public:
    ~Watch() { hub_.Leave(run_, id_); }
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;

   private:
    friend class WatchHub;
    Watch(WatchHub& hub, RunId run, std::uint64_t id) : hub_(hub), run_(std::move(run)), id_(id) {}
    WatchHub& hub_;
    const RunId run_;
    const std::uint64_t id_;
  };
  // The first call comes soon, with the run as it is then.
  std::unique_ptr<Watch> Add(const RunId& run, Callback callback);

  // Looks at all watched runs again: the safety net behind the notifications.
  void LookAgain();

 private:
  struct Topic {
    bool is_loading = false;
    bool is_stale = false;
    std::map<std::uint64_t, std::shared_ptr<Callback>> watchers;
  };

  void Touch(const RunId& run);
  void Load(const RunId& run);
  std::vector<std::shared_ptr<Callback>> Watchers(const RunId& run);
  // True: load again.
  bool FinishLoading(const RunId& run);
  void Leave(const RunId& run, std::uint64_t id);

  RunStore& runs_;
  exec::Executor& pool_;
  base::Mutex mutex_;
  std::map<RunId, Topic> topics_ GUARDED_BY(mutex_);
  std::uint64_t next_id_ GUARDED_BY(mutex_) = 1;
  std::unique_ptr<Subscription> subscription_;
};

}  // namespace dstack::server
