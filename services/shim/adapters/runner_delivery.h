#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include <absl/status/statusor.h>
#include <sys/types.h>

#include "libs/base/mutex.h"
#include "libs/exec/timer.h"
#include "libs/process/subprocess.h"
#include "services/shim/adapters/exit_watcher.h"
#include "services/shim/domain/shim_home.h"
#include "services/shim/ports/log_delivery.h"

namespace dstack::shim {

struct RunnerDeliverySettings {
  std::string runner_binary;
  uid_t owner = 0;  // of the sockets
  gid_t group = 0;
};

// Runs `dstack-runner deliver` for each ended task whose end the server has not acknowledged, and
// starts it again when it dies before that.
class RunnerDelivery final : public LogDelivery {
 public:
  // `executor` may block for some milliseconds; both outlive this object.
  RunnerDelivery(ShimHome home,
                 RunnerDeliverySettings settings,
                 exec::Executor& executor,
                 exec::TimerQueue& timers);
  // Ends all of them; they are started again by the next shim.
  ~RunnerDelivery() override;

  void Start(const std::string& task_id, const std::string& runner_dir) override;
  void Stop(const std::string& task_id) override;

 private:
  struct Entry {
    std::string runner_dir;
    std::optional<process::Subprocess> process;
    int attempts = 0;
    // Tells apart the callbacks of processes that had the same place one after the other.
    std::uint64_t generation = 0;
  };

  void Launch(const std::string& task_id);
  absl::StatusOr<process::Subprocess> Spawn(const std::string& task_id,
                                            const std::string& runner_dir) const;
  void OnExit(const std::string& task_id, std::uint64_t generation);
  std::string IdentityPath(const std::string& task_id) const;
  void EndPredecessor(const std::string& task_id) const;
  bool IsAcknowledged(const std::string& task_id) const;

  const ShimHome home_;
  const RunnerDeliverySettings settings_;
  exec::Executor& executor_;
  exec::TimerQueue& timers_;
  base::Mutex mutex_;
  std::map<std::string, Entry> entries_ GUARDED_BY(mutex_);
  std::uint64_t next_generation_ GUARDED_BY(mutex_) = 1;
  bool is_closing_ GUARDED_BY(mutex_) = false;
  std::unique_ptr<ExitWatcher> watcher_;
};

}  // namespace dstack::shim
