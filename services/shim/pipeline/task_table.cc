#include "services/shim/pipeline/task_table.h"

#include <algorithm>
#include <future>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "libs/base/macros.h"
#include "libs/base/status.h"
#include "libs/telemetry/log.h"

namespace dstack::shim {
namespace {

PipelineContext WithRemoval(PipelineContext context,
                            std::function<void(const std::string&)> on_removed) {
  context.on_removed = std::move(on_removed);
  return context;
}

absl::Status UnknownTask(const std::string& task_id) {
  return base::NotFound("TASK_NOT_FOUND", "task", task_id.substr(0, 64));
}

}  // namespace

TaskTable::TaskTable(PipelineContext context, ExecutorFactory make_executor)
    : make_executor_(std::move(make_executor)),
      context_(WithRemoval(std::move(context),
                           [this](const std::string& task_id) { Forget(task_id); })) {}

absl::Status TaskTable::Restore() {
  ASSIGN_OR_RETURN(auto containers, context_.runtime.List());
  ASSIGN_OR_RETURN(const auto records, context_.journal.LoadAll());
  std::vector<record::TaskRecord> live;
  for (const record::TaskRecord& record : records) {
    const bool is_over = record.status().state() == v1::TASK_STATE_TERMINATED;
    if (!is_over && UsesHostResources(record.spec())) live.push_back(record);
  }
  context_.host.Restore(live);
  for (const record::TaskRecord& record : records) RestoreTask(record, &containers);
  for (const ContainerStatus& container : containers) RemoveStray(container);
  return absl::OkStatus();
}

void TaskTable::RestoreTask(const record::TaskRecord& record,
                            std::vector<ContainerStatus>* containers) {
  std::optional<ContainerStatus> container;
  const auto it =
      std::find_if(containers->begin(), containers->end(), [&](const ContainerStatus& candidate) {
        return candidate.task_id == record.spec().task_id();
      });
  if (it != containers->end()) {
    container = *it;
    containers->erase(it);
  }
  const RestoreAction action = DecideRestore(record, container);
  if (const auto pipeline = Add(record, nullptr)) pipeline->Resume(action, std::move(container));
}

void TaskTable::RemoveStray(const ContainerStatus& container) {
  telemetry::Warn("a container without a task is removed",
                  {{"task_id", container.task_id}, {"container_id", container.id}});
  context_.steps.Post([this, task_id = container.task_id] {
    // A task that was submitted meanwhile under this id owns its container.
    if (Find(task_id)) return;
    if (const absl::Status status = context_.runtime.Remove(task_id); !status.ok()) {
      telemetry::Error("a container without a task stays",
                       {{"task_id", task_id}, {"status", status}});
    }
  });
}

void TaskTable::Submit(const v1::TaskSpec& spec, Done done) {
  if (!IsTaskId(spec.task_id())) {
    return done(base::InvalidField("spec.task_id", "must be a UUID in lower case"));
  }
  record::TaskRecord record;
  *record.mutable_spec() = spec;
  std::shared_ptr<TaskPipeline> existing;
  const auto pipeline = Add(std::move(record), &existing);
  if (!pipeline) {
    if (IsSameSpec(existing->spec(), spec)) return done(absl::OkStatus());
    return done(base::InvalidField(
        "spec",
        fmt::format("differs from the spec that task {} was accepted with", spec.task_id())));
  }
  pipeline->Begin([this, task_id = spec.task_id(), done = std::move(done)](const absl::Status& status) {
    if (!status.ok()) Forget(task_id);
    done(base::Annotate(status, "task {} could not be recorded", task_id));
  });
}

void TaskTable::Terminate(const std::string& task_id,
                          StopRequest request,
                          std::function<void(absl::StatusOr<v1::TaskStatus>)> done) {
  const auto pipeline = Find(task_id);
  if (!pipeline) return done(UnknownTask(task_id));
  pipeline->Terminate(std::move(request), std::move(done));
}

void TaskTable::Remove(const std::string& task_id, Done done) {
  const auto pipeline = Find(task_id);
  if (!pipeline) return done(absl::OkStatus());
  pipeline->Remove(std::move(done));
}

void TaskTable::ForceRemove(const std::string& task_id, Done done) {
  const auto pipeline = Find(task_id);
  if (!pipeline) return done(absl::OkStatus());
  pipeline->ForceRemove(std::move(done));
}

void TaskTable::Snapshot(const std::string& task_id,
                         std::function<void(absl::StatusOr<record::TaskRecord>)> done) {
  const auto pipeline = Find(task_id);
  if (!pipeline) return done(UnknownTask(task_id));
  pipeline->Snapshot(std::move(done));
}

bool TaskTable::Contains(const std::string& task_id) const { return Find(task_id) != nullptr; }

void TaskTable::Close() {
  std::map<std::string, Entry> entries;
  {
    base::MutexLock lock(mutex_);
    entries = entries_;
  }
  std::vector<std::future<void>> closed;
  for (auto& [id, entry] : entries) {
    auto promise = std::make_shared<std::promise<void>>();
    closed.push_back(promise->get_future());
    entry.pipeline->Close();
    entry.executor->Post([promise] { promise->set_value(); });
  }
  for (auto& future : closed) future.wait();
}

std::size_t TaskTable::size() const {
  base::MutexLock lock(mutex_);
  return entries_.size();
}

std::set<std::string> TaskTable::ids() const {
  base::MutexLock lock(mutex_);
  std::set<std::string> ids;
  for (const auto& [id, entry] : entries_) ids.insert(id);
  return ids;
}

std::shared_ptr<TaskPipeline> TaskTable::Find(const std::string& task_id) const {
  base::MutexLock lock(mutex_);
  const auto it = entries_.find(task_id);
  return it == entries_.end() ? nullptr : it->second.pipeline;
}

std::shared_ptr<TaskPipeline> TaskTable::Add(record::TaskRecord record,
                                             std::shared_ptr<TaskPipeline>* existing) {
  base::MutexLock lock(mutex_);
  const std::string task_id = record.spec().task_id();
  if (const auto it = entries_.find(task_id); it != entries_.end()) {
    if (existing != nullptr) *existing = it->second.pipeline;
    return nullptr;
  }
  Entry entry{.executor = make_executor_()};
  entry.pipeline = std::make_shared<TaskPipeline>(context_, entry.executor, std::move(record));
  return entries_.emplace(task_id, std::move(entry)).first->second.pipeline;
}

void TaskTable::Forget(const std::string& task_id) {
  Entry entry;
  {
    base::MutexLock lock(mutex_);
    const auto it = entries_.find(task_id);
    if (it == entries_.end()) return;
    entry = std::move(it->second);
    entries_.erase(it);
  }
  // Called by a task of this very executor, which must end outside of it.
  context_.steps.Post([entry = std::move(entry)] {});
}

}  // namespace dstack::shim
