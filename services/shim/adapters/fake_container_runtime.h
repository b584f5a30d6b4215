#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "libs/base/mutex.h"
#include "services/shim/ports/container_runtime.h"

namespace dstack::shim {

// Containers in memory, for tests: full behaviour, no processes. A started container runs until the
// test ends it with Exit(), or until SIGKILL; SIGTERM ends it with 143 unless it ignores that.
class FakeContainerRuntime final : public ContainerRuntime {
 public:
  enum class Op { kPrepareImage, kCreate, kStart, kInspect, kSignal, kRemove, kList };

  RuntimeFacts facts() const override;
  absl::StatusOr<ImageConfig> PrepareImage(
      const v1::TaskSpec& task,
      const std::function<void(const v1::PullProgress&)>& on_progress,
      const std::stop_token& stop) override;
  absl::StatusOr<ContainerStatus> Create(const LaunchSpec& launch) override;
  absl::StatusOr<ContainerStatus> Start(const std::string& task_id) override;
  void WatchExit(const std::string& task_id, std::function<void(absl::Status)> callback) override;
  absl::StatusOr<ContainerStatus> Inspect(const std::string& task_id) override;
  absl::Status Signal(const std::string& task_id, int signal) override;
  absl::Status Remove(const std::string& task_id) override;
  absl::StatusOr<std::vector<ContainerStatus>> List() override;
  std::string OutputTail(const std::string& task_id) override;

  // --- for tests
  // The next call of `op` gives `status` and does nothing.
  void FailNext(Op op, absl::Status status);
  // Called at the beginning of each `op`, without a lock.
  void OnCall(Op op, std::function<void()> hook);
  // Ends a running container.
  void Exit(const std::string& task_id, int exit_status, bool is_oom_killed = false);
  // As if somebody had removed it by hand.
  void Vanish(const std::string& task_id);
  void IgnoreSigterm(bool ignores);
  void SetImage(ImageConfig image);
  // Puts a container there that nobody launched.
  void Plant(ContainerStatus container);
  // Breaks off the watches, as an engine does that restarts.
  void BreakWatches();

  std::optional<ContainerStatus> Get(const std::string& task_id) const;
  std::vector<int> signals(const std::string& task_id) const;
  std::optional<LaunchSpec> launch(const std::string& task_id) const;
  int starts(const std::string& task_id) const;
  std::size_t size() const;

 private:
  struct Container {
    ContainerStatus status;
    std::vector<std::function<void(absl::Status)>> watches;
  };
  using Watches = std::vector<std::function<void(absl::Status)>>;

  absl::Status Enter(Op op);

  mutable base::Mutex mutex_;
  std::map<std::string, Container> containers_ GUARDED_BY(mutex_);
  std::map<std::string, std::vector<int>> signals_ GUARDED_BY(mutex_);
  std::map<std::string, LaunchSpec> launches_ GUARDED_BY(mutex_);
  std::map<std::string, int> starts_ GUARDED_BY(mutex_);
  std::map<Op, absl::Status> failures_ GUARDED_BY(mutex_);
  std::map<Op, std::function<void()>> hooks_ GUARDED_BY(mutex_);
  ImageConfig image_ GUARDED_BY(mutex_);
  bool ignores_sigterm_ GUARDED_BY(mutex_) = false;
  int next_id_ GUARDED_BY(mutex_) = 1;
};

}  // namespace dstack::shim
