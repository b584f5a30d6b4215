#pragma once

#include <atomic>
#include <functional>
#include <optional>
#include <set>
#include <string>

#include "dstack/shim/v1/upgrade.pb.h"

#include "libs/base/mutex.h"
#include "libs/exec/executor.h"
#include "services/shim/update/component_store.h"
#include "services/shim/update/release.h"

namespace dstack::shim {

struct UpgraderSettings {
  // What this process and its tasks run.
  AgentSet running;
  // Somebody starts the shim again after it has left.
  bool is_supervised = false;
  // Makes the process leave so that the supervisor starts the release; must not block.
  std::function<void()> restart;
  // Ids of all tasks of the host.
  std::function<std::set<std::string>()> tasks;
  // How long a shim on trial must serve.
  std::chrono::milliseconds trial{3000};
};

// Takes components from a session and goes over to them. Thread-safe; the work is done on an
// executor of its own, where the callbacks run too.
class Upgrader {
 public:
  // `executor` is serial, may block for seconds, and has run dry before the end of this object.
  Upgrader(ShimHome home, UpgraderSettings settings, exec::TimedExecutor& executor);

  // The shim serves: begins the rest of a trial, whose end `on_active` is told, and deletes what is
  // not needed any more, once the tasks of earlier processes are gone.
  void OnServing(std::function<void(const v1::UpgradeStatus&)> on_active);
  // A task changed or went.
  void OnTasksChanged();

  void Receive(v1::ComponentChunk chunk, std::function<void(v1::ComponentStatus)> done);
  void Activate(v1::ActivateCommand command, std::function<void(v1::UpgradeStatus)> done);

  // The last attempt; nothing when there was none.
  std::optional<v1::UpgradeStatus> last() const;
  const AgentSet& running() const { return settings_.running; }
  bool is_supervised() const { return settings_.is_supervised; }

 private:
  absl::Status ActivateNow(const v1::ActivateCommand& command);
  void SetLast(const Release& release);
  void Confirm(const std::function<void(const v1::UpgradeStatus&)>& on_active);
  void CleanUp();

  const ShimHome home_;
  const UpgraderSettings settings_;
  exec::TimedExecutor& executor_;
  std::atomic<bool> is_clean_up_due_ = false;
  mutable base::Mutex mutex_;
  std::optional<v1::UpgradeStatus> last_ GUARDED_BY(mutex_);

  // Only on executor_.
  ComponentStore store_;
  bool is_leaving_ = false;
  // What arrived must not be taken for old; the next process cleans up.
  bool has_received_ = false;
  // Tasks that an earlier process started, perhaps with other components.
  std::set<std::string> old_tasks_;
};

}  // namespace dstack::shim
