#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "libs/base/mutex.h"
#include "libs/exec/executor.h"
#include "services/shim/pipeline/task_pipeline.h"

namespace dstack::shim {

// All tasks of the host. Thread-safe. `done` runs on the executor of the task's pipeline, or in the
// call itself when there is no such task, and must not block. Errors carry the reasons of
// dstack.common.v1.ErrorReason.
class TaskTable {
 public:
  using Done = std::function<void(absl::Status)>;
  using ExecutorFactory = std::function<std::shared_ptr<exec::TimedExecutor>()>;

  // `context.on_removed` is set here. Executors are made one per task.
  TaskTable(PipelineContext context, ExecutorFactory make_executor);

  // Takes up the tasks of an earlier process and removes containers that belong to none. Once,
  // before the first submit. Fails when journal or runtime do not answer; may then be called again.
  absl::Status Restore();

  // Takes a task; OK once its record is on disk, or when it is there with the same spec. What else
  // is wrong with the spec ends the task with a reason. INVALID_FIELDS when the id is no UUID or
  // belongs to a task with another spec.
  void Submit(const v1::TaskSpec& spec, Done done);

  // See TaskPipeline. TASK_NOT_FOUND when there is no such task.
  void Terminate(const std::string& task_id,
                 StopRequest request,
                 std::function<void(absl::StatusOr<v1::TaskStatus>)> done);

  // See TaskPipeline. OK when there is no such task.
  void Remove(const std::string& task_id, Done done);

  // See TaskPipeline. OK when there is no such task.
  void ForceRemove(const std::string& task_id, Done done);

  // See TaskPipeline. TASK_NOT_FOUND when there is no such task.
  void Snapshot(const std::string& task_id,
                std::function<void(absl::StatusOr<record::TaskRecord>)> done);

  bool Contains(const std::string& task_id) const;

  // Lets go of all tasks without ending them; returns when no pipeline acts any more. The executors
  // must run meanwhile.
  void Close();

  std::size_t size() const;
  std::set<std::string> ids() const;

 private:
  struct Entry {
    std::shared_ptr<exec::TimedExecutor> executor;
    std::shared_ptr<TaskPipeline> pipeline;
  };

  // Null when there is none.
  std::shared_ptr<TaskPipeline> Find(const std::string& task_id) const;
  // Null when there is one already, which is then returned in `existing`.
  std::shared_ptr<TaskPipeline> Add(record::TaskRecord record,
                                    std::shared_ptr<TaskPipeline>* existing);
  void Forget(const std::string& task_id);
  void RestoreTask(const record::TaskRecord& record, std::vector<ContainerStatus>* containers);
  void RemoveStray(const ContainerStatus& container);

  const ExecutorFactory make_executor_;
  const PipelineContext context_;
  mutable base::Mutex mutex_;
  std::map<std::string, Entry> entries_ GUARDED_BY(mutex_);
};

}  // namespace dstack::shim
