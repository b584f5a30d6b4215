// From the start of the container to the removal of the task.
#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <google/protobuf/util/time_util.h>
#include <signal.h>

#include "libs/base/macros.h"
#include "libs/base/status.h"
#include "libs/failpoint/failpoint.h"
#include "libs/telemetry/log.h"
#include "services/shim/pipeline/task_pipeline.h"

namespace dstack::shim {
namespace {

using google::protobuf::util::TimeUtil;

// The supervisor gets so much more than the job's processes before everything is killed.
constexpr std::chrono::milliseconds kKillMargin{2000};
// A SIGKILL that has no effect (a process in uninterruptible sleep, an engine that was away) is
// repeated.
constexpr std::chrono::milliseconds kKillAgain{5000};

// A runner without a network of its own chooses a port within moments; a file that somebody else
// writes is free again as soon.
constexpr std::chrono::milliseconds kPortLookPause{250};
constexpr int kMaxPortLooks = 240;

std::string ExitMessage(const ContainerStatus& container, const std::string& tail) {
  if (!container.exit_status) return "the container ended unseen; its exit status is not known";
  std::string message = fmt::format("the container exited with status {}", *container.exit_status);
  if (container.is_oom_killed) message += ", its memory limit was reached";
  if (!tail.empty()) message += fmt::format(": {}", tail);
  return message;
}

}  // namespace

void TaskPipeline::TakeContainer(const ContainerStatus& container) {
  status()->set_container_id(container.id);
  if (!container.name.empty()) status()->set_container_name(container.name);
  status()->clear_ports();
  for (const v1::PortMapping& port : container.ports) *status()->add_ports() = port;
}

void TaskPipeline::OnRunning(const ContainerStatus& container) {
  TakeContainer(container);
  status()->set_runner_socket(context_.directory.home().RunnerSocket(spec_.task_id()));
  record_.set_was_started(true);
  if (state() != v1::TASK_STATE_RUNNING) EnterState(v1::TASK_STATE_RUNNING);
  // It runs, whatever the disk says.
  SaveEventually();
  backoff_.Reset();
  Watch();
  OpenPorts(0);
  if (IsStopping()) BeginStop();
}

void TaskPipeline::OpenPorts(int attempt) {
  const bool is_wanted = spec_.host_ssh_keys_size() > 0 && state() == v1::TASK_STATE_RUNNING;
  if (!is_wanted || is_opening_ports_ || is_finishing_) return;
  std::vector<std::uint16_t> ports;
  for (const v1::PortMapping& port : record_.status().ports()) {
    ports.push_back(static_cast<std::uint16_t>(port.host_port()));
  }
  is_opening_ports_ = true;
  RunStep(
      context_.steps,
      [this, ports = std::move(ports)] { return OpenPortsStep(ports); },
      [this, attempt](const absl::StatusOr<bool>& is_known) { OnPortsOpened(is_known, attempt); });
}

absl::StatusOr<bool> TaskPipeline::OpenPortsStep(std::vector<std::uint16_t> ports) {
  // On the host's own network the runner has taken a port by itself, and says so in its directory.
  if (ports.empty()) ports = context_.directory.RunnerPorts(spec_.task_id());
  if (ports.empty()) return false;
  RETURN_IF_ERROR(context_.host.OpenPorts(spec_, ports));
  return true;
}

void TaskPipeline::OnPortsOpened(const absl::StatusOr<bool>& is_known, int attempt) {
  is_opening_ports_ = false;
  if (after_opening_) return std::exchange(after_opening_, nullptr)();
  if (is_known.ok() && *is_known) return;
  if (!is_known.ok()) {
    telemetry::Warn("keys could not be installed on the host",
                    {{"task_id", spec_.task_id()}, {"status", is_known.status()}});
  }
  if (is_known.ok() && attempt >= kMaxPortLooks) return;
  // What stands in the way of the keys, for example a full disk, may take long to go.
  const base::Duration pause = is_known.ok() ? base::Duration(kPortLookPause) : backoff_.Next();
  PostAfter(pause, [self = shared_from_this(), attempt] {
    if (!self->is_closed_) self->OpenPorts(attempt + 1);
  });
}

void TaskPipeline::Watch() {
  auto executor = executor_.lock();
  if (!executor) return;
  context_.runtime.WatchExit(spec_.task_id(),
                             [self = shared_from_this(), executor](const absl::Status& status) {
                               executor->Post([self, status] {
                                 if (!self->is_closed_) self->OnMaybeExited(status);
                               });
                             });
}

void TaskPipeline::OnMaybeExited(const absl::Status& status) {
  if (state() != v1::TASK_STATE_RUNNING) return;
  if (status.ok()) {
    FAILPOINT("shim.after_exit");
    return InspectEnd();
  }
  if (absl::IsNotFound(status)) return FinishVanished();
  if (absl::IsCancelled(status)) return;
  telemetry::Warn("the wait for a container was cut off",
                  {{"task_id", spec_.task_id()}, {"status", status}});
  RetryLater([this] { Watch(); });
}

void TaskPipeline::InspectEnd() {
  RunStep(
      context_.steps,
      [this] { return InspectStep(); },
      [this](const absl::StatusOr<End>& end) { OnInspected(end); });
}

absl::StatusOr<TaskPipeline::End> TaskPipeline::InspectStep() {
  ASSIGN_OR_RETURN(ContainerStatus container, context_.runtime.Inspect(spec_.task_id()));
  End end{.container = std::move(container)};
  // Where the job's own end is recorded, the supervisor's output explains nothing.
  if (end.container.state == ContainerState::kExited && end.container.exit_status != 0 &&
      !context_.directory.HasJobEnded(spec_.task_id())) {
    end.output_tail = context_.runtime.OutputTail(spec_.task_id());
  }
  return end;
}

void TaskPipeline::OnInspected(const absl::StatusOr<End>& end) {
  if (absl::IsNotFound(end.status())) return FinishVanished();
  if (!end.ok()) return RetryLater([this] { InspectEnd(); });
  if (end->container.state == ContainerState::kRunning) return OnRunning(end->container);
  // "Created" once more: it has run, and what it ended with is not known.
  FinishExited(*end);
}

void TaskPipeline::FinishExited(const End& end) {
  const ContainerStatus& container = end.container;
  if (container.exit_status) status()->set_exit_status(*container.exit_status);
  status()->set_is_oom_killed(container.is_oom_killed);
  status()->set_runner_socket(context_.directory.home().RunnerSocket(spec_.task_id()));
  if (IsStopping()) {
    return Finish(v1::TASK_TERMINATION_REASON_TERMINATED_BY_SERVER, record_.stop().message());
  }
  if (container.exit_status == 0) return Finish(v1::TASK_TERMINATION_REASON_DONE_BY_RUNNER, "");
  Finish(v1::TASK_TERMINATION_REASON_CONTAINER_EXITED_WITH_ERROR,
         ExitMessage(container, end.output_tail));
}

void TaskPipeline::FinishVanished() {
  // It may have run: what it left in its directory is still delivered.
  record_.set_was_started(true);
  status()->set_runner_socket(context_.directory.home().RunnerSocket(spec_.task_id()));
  if (IsStopping()) {
    return Finish(v1::TASK_TERMINATION_REASON_TERMINATED_BY_SERVER, record_.stop().message());
  }
  Finish(v1::TASK_TERMINATION_REASON_CONTAINER_EXITED_WITH_ERROR,
         fmt::format("the container {} was removed by somebody else",
                     record_.status().container_name()));
}

base::WallTime TaskPipeline::StopRequestedAt() const {
  return base::WallTime(
      std::chrono::nanoseconds(TimeUtil::TimestampToNanoseconds(record_.stop().requested_at())));
}

std::chrono::milliseconds TaskPipeline::StopGrace() const {
  return std::chrono::milliseconds(TimeUtil::DurationToMilliseconds(record_.stop().grace()));
}

void TaskPipeline::BeginStop() {
  if (StopGrace().count() == 0) return KillNow();
  ArmKill();
  // A second SIGTERM would make the supervisor leave at once.
  if (record_.stop().is_signalled()) return;
  RunStep(
      context_.steps,
      [this, grace = StopGrace()]() -> absl::Status {
        RETURN_IF_ERROR(context_.directory.WriteStopGrace(spec_.task_id(), grace));
        return context_.runtime.Signal(spec_.task_id(), SIGTERM);
      },
      [this](const absl::Status& status) { OnSignalled(status); });
}

void TaskPipeline::OnSignalled(const absl::Status& status) {
  if (state() != v1::TASK_STATE_RUNNING) return;
  if (!status.ok() && !absl::IsNotFound(status)) {
    telemetry::Warn("a task could not be signalled",
                    {{"task_id", spec_.task_id()}, {"status", status}});
    return RetryLater([this] {
      if (state() == v1::TASK_STATE_RUNNING) BeginStop();
    });
  }
  record_.mutable_stop()->set_is_signalled(true);
  SaveEventually();
}

void TaskPipeline::ArmKill() {
  kill_timer_.Cancel();
  const base::WallTime deadline = StopRequestedAt() + StopGrace() + kKillMargin;
  // Wall time, because the request may be older than this process; never longer than asked for, if
  // the clock was set back.
  const auto left = std::clamp<base::Duration>(
      deadline - context_.clock.Now(), base::Duration(0), StopGrace() + kKillMargin);
  kill_timer_ = PostAfter(left, [self = shared_from_this()] { self->KillNow(); });
}

void TaskPipeline::KillNow() {
  if (is_closed_ || state() != v1::TASK_STATE_RUNNING) return;
  kill_timer_.Cancel();
  kill_timer_ = PostAfter(kKillAgain, [self = shared_from_this()] { self->KillNow(); });
  RunStep(
      context_.steps,
      [this] { return context_.runtime.Signal(spec_.task_id(), SIGKILL); },
      [this](const absl::Status& status) {
        if (status.ok() || absl::IsNotFound(status)) return;
        telemetry::Warn("a task could not be killed",
                        {{"task_id", spec_.task_id()}, {"status", status}});
      });
}

void TaskPipeline::DeliverLogs() {
  if (!record_.was_started() || record_.is_removing()) return;
  context_.delivery.Start(spec_.task_id(),
                          context_.directory.home().ShortRunnerDir(spec_.task_id()));
}

void TaskPipeline::Remove(std::function<void(absl::Status)> done) {
  Post([self = shared_from_this(), done = std::move(done)] {
    if (self->is_refused_) return done(absl::OkStatus());
    if (self->is_closed_) return done(self->ClosedError());
    if (self->state() != v1::TASK_STATE_TERMINATED) {
      const std::string from(StateName(self->state()));
      return done(
          base::Error(absl::StatusCode::kFailedPrecondition,
                      "INVALID_STATE",
                      fmt::format("task {} is {}; terminate it first", self->spec_.task_id(), from),
                      {{"from", from}, {"event", "remove"}, {"task_id", self->spec_.task_id()}}));
    }
    self->removal_waiters_.push_back(done);
    self->BeginRemoval();
  });
}

void TaskPipeline::ForceRemove(std::function<void(absl::Status)> done) {
  Post([self = shared_from_this(), done = std::move(done)] {
    if (self->is_refused_) return done(absl::OkStatus());
    if (self->is_closed_) return done(self->ClosedError());
    self->removal_waiters_.push_back(done);
    if (self->state() == v1::TASK_STATE_TERMINATED) return self->BeginRemoval();
    self->is_removal_wanted_ = true;
    self->TakeStop({.message = "removed by force"}, [](const absl::StatusOr<v1::TaskStatus>&) {});
  });
}

void TaskPipeline::BeginRemoval() {
  if (is_removal_running_) return;
  record_.set_is_removing(true);
  // Not to be stopped by a full disk: the removal makes room.
  if (const absl::Status saved = context_.journal.Save(record_); !saved.ok()) {
    telemetry::Warn("a removal is not on disk", {{"status", saved}});
  }
  FAILPOINT("shim.before_remove");
  RunRemoval();
}

void TaskPipeline::RunRemoval() {
  is_removal_running_ = true;
  RunStep(
      context_.steps,
      [this]() -> absl::Status {
        context_.delivery.Stop(spec_.task_id());
        RETURN_IF_ERROR(context_.runtime.Remove(spec_.task_id()));
        FAILPOINT("shim.after_remove_container");
        return context_.journal.Remove(spec_.task_id());
      },
      [this](const absl::Status& status) { OnRemovalStep(status); });
}

void TaskPipeline::OnRemovalStep(const absl::Status& status) {
  if (!status.ok()) {
    telemetry::Warn("a task could not be removed; trying again",
                    {{"task_id", spec_.task_id()}, {"status", status}});
    return RetryLater([this] { RunRemoval(); });
  }
  is_closed_ = true;
  context_.gpus.Release(spec_.task_id());
  context_.on_removed(spec_.task_id());
  context_.board.Remove(spec_.task_id());
  for (const auto& done : removal_waiters_) done(absl::OkStatus());
  removal_waiters_.clear();
}

}  // namespace dstack::shim
