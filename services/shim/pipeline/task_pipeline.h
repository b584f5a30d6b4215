#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "services/shim/domain/task_record.pb.h"

#include "libs/base/backoff.h"
#include "libs/base/clock.h"
#include "libs/exec/executor.h"
#include "services/shim/domain/gpu_ledger.h"
#include "services/shim/domain/restore.h"
#include "services/shim/domain/task_machine.h"
#include "services/shim/domain/task_spec.h"
#include "services/shim/pipeline/status_board.h"
#include "services/shim/pipeline/task_directory.h"
#include "services/shim/ports/container_runtime.h"
#include "services/shim/ports/host_resources.h"
#include "services/shim/ports/log_delivery.h"
#include "services/shim/ports/task_journal.h"

namespace dstack::shim {

// What all pipelines share. References outlive them.
struct PipelineContext {
  ContainerRuntime& runtime;
  TaskJournal& journal;
  GpuLedger& gpus;
  StatusBoard& board;
  LogDelivery& delivery;
  HostResources& host;
  const TaskDirectory& directory;
  const HostAbilities& abilities;
  // For steps that block for seconds, and for pulls, which block for as long as it takes.
  exec::Executor& steps;
  exec::Executor& pulls;
  const base::Clock& clock;
  base::Random& random;
  // Called when a task is gone; must not block.
  std::function<void(const std::string& task_id)> on_removed;
};

// How a task is to end.
struct StopRequest {
  // Time for the job's processes after SIGTERM; zero kills at once.
  std::chrono::milliseconds grace{0};
  std::string message;
};

// The life of one task, from submission to removal. Its state is touched only by tasks of its own
// serial executor; steps that block run elsewhere and post their result back. The journal is
// written before each side effect, and the board is told after it. Public functions may be called
// from any thread; `done` runs on the executor of the pipeline and must not block.
class TaskPipeline : public std::enable_shared_from_this<TaskPipeline> {
 public:
  // `executor` is this pipeline's own. Whoever made it keeps it until the pipeline is done with,
  // and lets it go outside of its own tasks; running steps keep it too.
  TaskPipeline(const PipelineContext& context,
               const std::shared_ptr<exec::TimedExecutor>& executor,
               record::TaskRecord record);

  const v1::TaskSpec& spec() const { return spec_; }

  // Begins a new task: `done` says whether the journal holds it. After an error the pipeline is
  // over and nothing was published.
  void Begin(std::function<void(absl::Status)> done);

  // Goes on after a restart of the shim. When it returns, the status has been told and the
  // accelerators are held. Before any other call.
  void Resume(RestoreAction action, std::optional<ContainerStatus> container);

  // Asks for the end; `done` gets the status once the wish is in the journal. A later request can
  // only shorten the grace. Of a task that ended already it changes nothing.
  void Terminate(StopRequest request, std::function<void(absl::StatusOr<v1::TaskStatus>)> done);

  // Removes container, files and record of an ended task, trying again until it succeeds;
  // FAILED_PRECONDITION at once when it is not TERMINATED. `done` may be called much later.
  void Remove(std::function<void(absl::Status)> done);

  // As Remove, but kills the task first when it has not ended. The wish to remove does not outlive
  // the process before the task has ended.
  void ForceRemove(std::function<void(absl::Status)> done);

  // What is known now.
  void Snapshot(std::function<void(record::TaskRecord)> done);

  // Cuts running steps off without touching the task: the shim is leaving. Afterwards the pipeline
  // does nothing more.
  void Close();

 private:
  using Step = std::function<void()>;

  // --- before the start (task_pipeline.cc)
  void EnterPreparing();
  void RunPreparation();
  using Mounts = std::vector<v1::BindMount>;
  absl::StatusOr<Mounts> PrepareStep(const std::stop_token& stop);
  void OnPrepared(absl::StatusOr<Mounts> host_mounts);
  // For a container that was made before a restart: a reboot takes mounts away.
  void PrepareHostAndStart();
  absl::Status AcquireGpus();
  void FetchImage();
  absl::StatusOr<ImageConfig> FetchStep(const std::stop_token& stop);
  void OnProgress(const v1::PullProgress& progress);
  void OnImage(absl::StatusOr<ImageConfig> image);
  void CreateContainer(const ImageConfig& image);
  absl::StatusOr<ContainerStatus> CreateStep(const ImageConfig& image, LaunchSpec launch);
  void OnCreated(const absl::StatusOr<ContainerStatus>& container);
  void StartContainer();
  void OnStarted(const absl::StatusOr<ContainerStatus>& container);
  // Removes what was made of the container, then finishes with this.
  void UndoContainer(v1::TaskTerminationReason reason, const std::string& message);
  void OnUndone(const absl::Status& status,
                v1::TaskTerminationReason reason,
                const std::string& message);

  // --- from the start on (task_running.cc)
  void OnRunning(const ContainerStatus& container);
  void OpenPorts(int attempt);
  absl::StatusOr<bool> OpenPortsStep(std::vector<std::uint16_t> ports);
  void OnPortsOpened(const absl::StatusOr<bool>& is_known, int attempt);
  void TakeContainer(const ContainerStatus& container);
  void Watch();
  void OnMaybeExited(const absl::Status& status);
  struct End {
    ContainerStatus container;
    std::string output_tail;
  };
  void InspectEnd();
  absl::StatusOr<End> InspectStep();
  void OnInspected(const absl::StatusOr<End>& end);
  void FinishExited(const End& end);
  void FinishVanished();
  void BeginStop();
  void OnSignalled(const absl::Status& status);
  void ArmKill();
  void KillNow();
  void DeliverLogs();
  void BeginRemoval();
  void RunRemoval();
  void OnRemovalStep(const absl::Status& status);

  // --- common
  // Runs `step` elsewhere and then `then` with its result here, unless the pipeline was closed.
  template <typename Work, typename Then>
  void RunStep(exec::Executor& where, Work work, Then then);
  // Runs `task` on the executor.
  void Post(Step task);
  // The same later.
  exec::TimerHandle PostAfter(base::Duration delay, Step task);
  // Moves on in the journal; false when it could not be written and the task is over because of it.
  bool Advance(TaskEvent event);
  absl::Status Save();
  // As Save(), for what has happened already: keeps trying.
  void SaveEventually();
  void EnterState(v1::TaskState state);
  // Records the wish to end and acts on it.
  void TakeStop(const StopRequest& request,
                const std::function<void(absl::StatusOr<v1::TaskStatus>)>& done);
  // Gives back what the host lent, then ends the task.
  void Finish(v1::TaskTerminationReason reason, std::string message);
  void EndTask(v1::TaskTerminationReason reason, std::string message);
  bool EndsBeforeStart();
  // The task was never taken.
  void Refuse();
  // Why a closed pipeline does nothing.
  absl::Status ClosedError() const;
  bool IsStopping() const { return record_.has_stop(); }
  v1::TaskState state() const { return record_.status().state(); }
  v1::TaskStatus* status() { return record_.mutable_status(); }
  void RetryLater(Step step);
  base::WallTime StopRequestedAt() const;
  std::chrono::milliseconds StopGrace() const;

  const PipelineContext context_;
  // Weak: the last reference must not go within a task of the executor, where `this` may end.
  const std::weak_ptr<exec::TimedExecutor> executor_;
  const v1::TaskSpec spec_;

  // All below: only on executor_.
  record::TaskRecord record_;
  bool is_closed_ = false;
  bool is_refused_ = false;
  bool is_save_pending_ = false;
  // Remove as soon as it has ended.
  bool is_removal_wanted_ = false;
  int undo_attempts_ = 0;
  // Ends a preparation or a pull that runs now.
  std::stop_source pull_stop_;
  // Disks of the host, as mounts of the container.
  Mounts host_mounts_;
  // The end is on its way; nothing else ends the task.
  bool is_finishing_ = false;
  bool is_opening_ports_ = false;
  // What waits for that: a key must not be installed after it was given back.
  Step after_opening_;
  exec::TimerHandle kill_timer_;
  base::Backoff backoff_;
  std::vector<std::function<void(absl::Status)>> removal_waiters_;
  bool is_removal_running_ = false;
};

template <typename Work, typename Then>
void TaskPipeline::RunStep(exec::Executor& where, Work work, Then then) {
  auto executor = executor_.lock();
  if (!executor) return;
  where.Post([self = shared_from_this(),
              executor = std::move(executor),
              work = std::move(work),
              then = std::move(then)]() mutable {
    executor->Post([self, result = work(), then = std::move(then)]() mutable {
      if (!self->is_closed_) then(std::move(result));
    });
  });
}

}  // namespace dstack::shim
