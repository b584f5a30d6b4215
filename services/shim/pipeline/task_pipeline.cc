// From submission to the start of the container, and what all phases share. The rest is in
// task_running.cc.
#include "services/shim/pipeline/task_pipeline.h"

#include <utility>

#include <fmt/format.h>
#include <google/protobuf/util/time_util.h>

#include "libs/base/macros.h"
#include "libs/base/status.h"
#include "libs/failpoint/failpoint.h"
#include "libs/telemetry/log.h"
#include "services/shim/domain/container_name.h"

namespace dstack::shim {
namespace {

using google::protobuf::util::TimeUtil;

// Progress is told at most this often.
constexpr std::chrono::milliseconds kProgressInterval{100};
// After a restart revisions go on from here above the recorded one, because progress of a pull
// counts revisions that are not recorded.
constexpr std::uint64_t kRevisionLeap = 1U << 20;
constexpr base::BackoffPolicy kRetryPolicy{.initial = std::chrono::milliseconds(200),
                                           .max = std::chrono::seconds(10)};
// How often the removal of a container that could not be started is tried before the task ends all
// the same; RemoveTask tries again.
constexpr int kMaxUndoAttempts = 5;

}  // namespace

TaskPipeline::TaskPipeline(const PipelineContext& context,
                           const std::shared_ptr<exec::TimedExecutor>& executor,
                           record::TaskRecord record)
    : context_(context),
      executor_(executor),
      spec_(record.spec()),
      record_(std::move(record)),
      backoff_(kRetryPolicy, context.random) {}

void TaskPipeline::Post(Step task) {
  if (const auto executor = executor_.lock()) executor->Post(std::move(task));
}

exec::TimerHandle TaskPipeline::PostAfter(base::Duration delay, Step task) {
  const auto executor = executor_.lock();
  return executor ? executor->PostAfter(delay, std::move(task)) : exec::TimerHandle();
}

void TaskPipeline::Begin(std::function<void(absl::Status)> done) {
  Post([self = shared_from_this(), done = std::move(done)] {
    self->status()->set_task_id(self->spec_.task_id());
    self->status()->set_container_name(ContainerName(self->spec_.name(), self->spec_.task_id()));
    self->EnterState(v1::TASK_STATE_PENDING);
    const absl::Status saved = self->Save();
    done(saved);
    if (!saved.ok()) return self->Refuse();
    FAILPOINT("shim.after_submit");
    self->EnterPreparing();
  });
}

void TaskPipeline::Refuse() {
  is_closed_ = true;
  is_refused_ = true;
  for (const auto& done : removal_waiters_) done(absl::OkStatus());
  removal_waiters_.clear();
}

absl::Status TaskPipeline::ClosedError() const {
  if (is_refused_) return base::NotFound("TASK_NOT_FOUND", "task", spec_.task_id());
  return base::Error(absl::StatusCode::kUnavailable, "SHUTTING_DOWN", "the shim is stopping");
}

void TaskPipeline::Resume(RestoreAction action, std::optional<ContainerStatus> container) {
  // At once: the first session must not miss a task, nor a new task get its accelerators.
  const auto& ids = record_.status().gpu_ids();
  context_.gpus.Lock(spec_.task_id(), {ids.begin(), ids.end()});
  context_.board.Publish(record_.status());
  Post([self = shared_from_this(), action, container = std::move(container)] {
    telemetry::Info("task restored",
                    {{"task_id", self->spec_.task_id()},
                     {"state", StateName(self->state())},
                     {"action", ActionName(action)}});
    self->status()->set_revision(self->record_.status().revision() + kRevisionLeap);
    self->SaveEventually();
    switch (action) {
      case RestoreAction::kKeep:
        return self->DeliverLogs();
      case RestoreAction::kRemove:
        return self->RunRemoval();
      case RestoreAction::kPrepare:
        if (self->state() == v1::TASK_STATE_PENDING) return self->EnterPreparing();
        return self->RunPreparation();
      case RestoreAction::kFetchImage:
        // The files of a runner that never ran need not have survived.
        return self->RunPreparation();
      case RestoreAction::kStart:
        self->TakeContainer(*container);
        return self->PrepareHostAndStart();
      case RestoreAction::kAdopt:
        return self->OnRunning(*container);
      case RestoreAction::kReport:
        self->TakeContainer(*container);
        self->record_.set_was_started(true);
        return self->InspectEnd();
      case RestoreAction::kVanished:
        return self->FinishVanished();
    }
  });
}

void TaskPipeline::Close() {
  Post([self = shared_from_this()] {
    self->is_closed_ = true;
    self->pull_stop_.request_stop();
    self->kill_timer_.Cancel();
    for (const auto& done : self->removal_waiters_) done(self->ClosedError());
    self->removal_waiters_.clear();
  });
}

void TaskPipeline::Terminate(StopRequest request,
                             std::function<void(absl::StatusOr<v1::TaskStatus>)> done) {
  Post([self = shared_from_this(), request = std::move(request), done = std::move(done)] {
    if (self->is_closed_) return done(self->ClosedError());
    self->TakeStop(request, done);
  });
}

void TaskPipeline::TakeStop(const StopRequest& request,
                            const std::function<void(absl::StatusOr<v1::TaskStatus>)>& done) {
  const base::WallTime now = context_.clock.Now();
  const bool is_over = state() == v1::TASK_STATE_TERMINATED;
  const bool is_later = IsStopping() && now + request.grace >= StopRequestedAt() + StopGrace();
  if (is_over || is_later) return done(record_.status());
  auto* stop = record_.mutable_stop();
  *stop->mutable_grace() = TimeUtil::MillisecondsToDuration(request.grace.count());
  *stop->mutable_requested_at() = TimeUtil::NanosecondsToTimestamp(now.time_since_epoch().count());
  stop->set_message(request.message);
  // A disk that takes no record must not keep a task alive.
  SaveEventually();
  done(record_.status());
  FAILPOINT("shim.after_terminate");
  pull_stop_.request_stop();
  // Before the start, the step that runs now sees the wish when it comes back.
  if (state() == v1::TASK_STATE_RUNNING) BeginStop();
}

void TaskPipeline::EnterPreparing() {
  if (EndsBeforeStart()) return;
  if (Advance(TaskEvent::kStart)) RunPreparation();
}

void TaskPipeline::RunPreparation() {
  if (EndsBeforeStart()) return;
  pull_stop_ = std::stop_source();
  // A disk may have to be waited for, checked and formatted.
  exec::Executor& where = spec_.volumes_size() > 0 ? context_.pulls : context_.steps;
  RunStep(
      where,
      [this, stop = pull_stop_.get_token()] { return PrepareStep(stop); },
      [this](absl::StatusOr<Mounts> mounts) { OnPrepared(std::move(mounts)); });
}

absl::StatusOr<TaskPipeline::Mounts> TaskPipeline::PrepareStep(const std::stop_token& stop) {
  RETURN_IF_ERROR(ValidateSpec(spec_, context_.abilities));
  RETURN_IF_ERROR(context_.directory.Prepare(spec_));
  RETURN_IF_ERROR(context_.directory.PrepareMounts(spec_, context_.abilities).status());
  if (!UsesHostResources(spec_)) return Mounts();
  return context_.host.Prepare(spec_, stop);
}

void TaskPipeline::OnPrepared(absl::StatusOr<Mounts> host_mounts) {
  if (EndsBeforeStart()) return;
  absl::Status result = host_mounts.status();
  if (result.ok()) host_mounts_ = *std::move(host_mounts);
  if (result.ok() && record_.status().gpu_ids().empty()) result = AcquireGpus();
  if (!result.ok()) {
    return Finish(v1::TASK_TERMINATION_REASON_EXECUTOR_ERROR,
                  fmt::format("prepare: {}", base::Message(result)));
  }
  FetchImage();
}

void TaskPipeline::PrepareHostAndStart() {
  if (spec_.volumes_size() == 0 || IsStopping()) return StartContainer();
  pull_stop_ = std::stop_source();
  RunStep(
      context_.pulls,
      [this, stop = pull_stop_.get_token()] { return context_.host.Prepare(spec_, stop); },
      [this](const absl::StatusOr<Mounts>& mounts) {
        if (mounts.ok()) return StartContainer();
        UndoContainer(v1::TASK_TERMINATION_REASON_EXECUTOR_ERROR,
                      fmt::format("prepare: {}", base::Message(mounts.status())));
      });
}

absl::Status TaskPipeline::AcquireGpus() {
  if (spec_.gpu_count() == 0) return absl::OkStatus();
  ASSIGN_OR_RETURN(const auto ids, context_.gpus.Acquire(spec_.task_id(), spec_.gpu_count()));
  for (const std::string& id : ids) status()->add_gpu_ids(id);
  return absl::OkStatus();
}

void TaskPipeline::FetchImage() {
  if (state() == v1::TASK_STATE_PREPARING && !Advance(TaskEvent::kPrepared)) return;
  FAILPOINT("shim.before_pull");
  pull_stop_ = std::stop_source();
  RunStep(
      context_.pulls,
      [this, stop = pull_stop_.get_token()] { return FetchStep(stop); },
      [this](absl::StatusOr<ImageConfig> image) { OnImage(std::move(image)); });
}

absl::StatusOr<ImageConfig> TaskPipeline::FetchStep(const std::stop_token& stop) {
  base::MonotonicTime next{};
  const auto on_progress = [&](const v1::PullProgress& progress) {
    const base::MonotonicTime now = context_.clock.MonotonicNow();
    if (now < next) return;
    next = now + kProgressInterval;
    Post([self = shared_from_this(), progress] { self->OnProgress(progress); });
  };
  return context_.runtime.PrepareImage(spec_, on_progress, stop);
}

void TaskPipeline::OnProgress(const v1::PullProgress& progress) {
  if (is_closed_ || state() != v1::TASK_STATE_PULLING) return;
  // Not recorded: see kRevisionLeap.
  *status()->mutable_pull_progress() = progress;
  status()->set_revision(record_.status().revision() + 1);
  context_.board.Publish(record_.status());
}

void TaskPipeline::OnImage(absl::StatusOr<ImageConfig> image) {
  if (EndsBeforeStart()) return;
  if (!image.ok()) {
    return Finish(v1::TASK_TERMINATION_REASON_CREATING_CONTAINER_ERROR,
                  fmt::format("pull image: {}", base::Message(image.status())));
  }
  CreateContainer(*image);
}

void TaskPipeline::CreateContainer(const ImageConfig& image) {
  status()->clear_pull_progress();
  if (state() == v1::TASK_STATE_PULLING && !Advance(TaskEvent::kImageReady)) return;
  FAILPOINT("shim.before_create");
  LaunchSpec launch{
      .task = spec_,
      .container_name = record_.status().container_name(),
      .gpu_ids = {record_.status().gpu_ids().begin(), record_.status().gpu_ids().end()}};
  // Those of the disks; CreateStep adds the others.
  launch.task.clear_mounts();
  for (const v1::BindMount& mount : host_mounts_) *launch.task.add_mounts() = mount;
  RunStep(
      context_.steps,
      [this, image, launch = std::move(launch)] { return CreateStep(image, launch); },
      [this](const absl::StatusOr<ContainerStatus>& container) { OnCreated(container); });
}

absl::StatusOr<ContainerStatus> TaskPipeline::CreateStep(const ImageConfig& image,
                                                         LaunchSpec launch) {
  ASSIGN_OR_RETURN(const auto mounts, context_.directory.PrepareMounts(spec_, context_.abilities));
  for (const v1::BindMount& mount : mounts) *launch.task.add_mounts() = mount;
  RETURN_IF_ERROR(context_.directory.WriteImageConfig(spec_.task_id(), image));
  launch.runner_dir = context_.directory.home().ShortRunnerDir(spec_.task_id());
  return context_.runtime.Create(launch);
}

void TaskPipeline::OnCreated(const absl::StatusOr<ContainerStatus>& container) {
  FAILPOINT("shim.after_create");
  if (!container.ok()) {
    return UndoContainer(v1::TASK_TERMINATION_REASON_CREATING_CONTAINER_ERROR,
                         fmt::format("create container: {}", base::Message(container.status())));
  }
  TakeContainer(*container);
  if (const absl::Status saved = Save(); !saved.ok()) {
    return UndoContainer(v1::TASK_TERMINATION_REASON_EXECUTOR_ERROR,
                         fmt::format("record the container: {}", base::Message(saved)));
  }
  StartContainer();
}

void TaskPipeline::StartContainer() {
  if (IsStopping()) {
    return UndoContainer(v1::TASK_TERMINATION_REASON_TERMINATED_BY_SERVER,
                         record_.stop().message());
  }
  FAILPOINT("shim.before_start");
  RunStep(
      context_.steps,
      [this] { return context_.runtime.Start(spec_.task_id()); },
      [this](const absl::StatusOr<ContainerStatus>& container) { OnStarted(container); });
}

void TaskPipeline::OnStarted(const absl::StatusOr<ContainerStatus>& container) {
  FAILPOINT("shim.after_start");
  if (container.ok()) return OnRunning(*container);
  const bool is_port = base::Reason(container.status()) == kPortsBindingFailed;
  UndoContainer(is_port ? v1::TASK_TERMINATION_REASON_PORTS_BINDING_FAILED
                        : v1::TASK_TERMINATION_REASON_CREATING_CONTAINER_ERROR,
                fmt::format("start container: {}", base::Message(container.status())));
}

void TaskPipeline::UndoContainer(v1::TaskTerminationReason reason, const std::string& message) {
  RunStep(
      context_.steps,
      [this] { return context_.runtime.Remove(spec_.task_id()); },
      [this, reason, message](const absl::Status& status) { OnUndone(status, reason, message); });
}

void TaskPipeline::OnUndone(const absl::Status& status,
                            v1::TaskTerminationReason reason,
                            const std::string& message) {
  if (!status.ok() && ++undo_attempts_ < kMaxUndoAttempts) {
    return RetryLater([this, reason, message] { UndoContainer(reason, message); });
  }
  if (!status.ok()) {
    telemetry::Error("a container is left behind until the task is removed",
                     {{"task_id", spec_.task_id()}, {"status", status}});
  }
  Finish(reason, message);
}

bool TaskPipeline::EndsBeforeStart() {
  if (!IsStopping()) return false;
  Finish(v1::TASK_TERMINATION_REASON_TERMINATED_BY_SERVER, record_.stop().message());
  return true;
}

bool TaskPipeline::Advance(TaskEvent event) {
  const record::TaskRecord before = record_;
  const auto next = NextState(state(), event);
  absl::Status result = next.status();
  if (next.ok()) {
    EnterState(*next);
    result = Save();
  }
  if (result.ok()) return true;
  record_ = before;
  Finish(v1::TASK_TERMINATION_REASON_EXECUTOR_ERROR,
         fmt::format("record the step: {}", base::Message(result)));
  return false;
}

void TaskPipeline::EnterState(v1::TaskState state) {
  telemetry::Debug("task state", {{"task_id", spec_.task_id()}, {"state", StateName(state)}});
  status()->set_state(state);
  *status()->mutable_state_time() =
      TimeUtil::NanosecondsToTimestamp(context_.clock.Now().time_since_epoch().count());
}

absl::Status TaskPipeline::Save() {
  status()->set_revision(record_.status().revision() + 1);
  absl::Status saved = context_.journal.Save(record_);
  if (saved.ok()) context_.board.Publish(record_.status());
  return saved;
}

void TaskPipeline::SaveEventually() {
  status()->set_revision(record_.status().revision() + 1);
  const absl::Status saved = context_.journal.Save(record_);
  context_.board.Publish(record_.status());
  if (saved.ok() || is_save_pending_) return;
  telemetry::Error("a task's state is not on disk; trying again",
                   {{"task_id", spec_.task_id()}, {"status", saved}});
  is_save_pending_ = true;
  RetryLater([this] {
    is_save_pending_ = false;
    if (!record_.is_removing()) SaveEventually();
  });
}

void TaskPipeline::Finish(v1::TaskTerminationReason reason, std::string message) {
  if (is_finishing_ || !NextState(state(), TaskEvent::kEnded).ok()) return;
  is_finishing_ = true;
  if (!UsesHostResources(spec_)) return EndTask(reason, std::move(message));
  Step release = [this, reason, message = std::move(message)] {
    RunStep(
        context_.steps,
        [this] { return context_.host.Release(spec_); },
        [this, reason, message](const absl::Status& status) {
          if (!status.ok()) {
            telemetry::Error("something of a task stays on the host",
                             {{"task_id", spec_.task_id()}, {"status", status}});
          }
          EndTask(reason, message);
        });
  };
  if (!is_opening_ports_) return release();
  after_opening_ = std::move(release);
}

void TaskPipeline::EndTask(v1::TaskTerminationReason reason, std::string message) {
  kill_timer_.Cancel();
  EnterState(v1::TASK_STATE_TERMINATED);
  status()->set_termination_reason(reason);
  status()->set_termination_message(std::move(message));
  status()->clear_pull_progress();
  status()->clear_gpu_ids();
  SaveEventually();
  // After the record: while it says that the task holds them, nobody else may get them.
  context_.gpus.Release(spec_.task_id());
  telemetry::Info("task ended",
                  {{"task_id", spec_.task_id()},
                   {"reason", v1::TaskTerminationReason_Name(reason)},
                   {"message", record_.status().termination_message()}});
  if (is_removal_wanted_) return BeginRemoval();
  DeliverLogs();
}

void TaskPipeline::Snapshot(std::function<void(record::TaskRecord)> done) {
  Post([self = shared_from_this(), done = std::move(done)] { done(self->record_); });
}

void TaskPipeline::RetryLater(Step step) {
  PostAfter(backoff_.Next(), [self = shared_from_this(), step = std::move(step)] {
    if (!self->is_closed_) step();
  });
}

}  // namespace dstack::shim
