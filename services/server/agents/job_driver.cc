#include "services/server/agents/job_driver.h"

#include <algorithm>
#include <utility>

#include "fmt/format.h"
#include "libs/base/status.h"
#include "libs/failpoint/failpoint.h"
#include "libs/telemetry/log.h"
#include "services/server/agents/job_keys.h"
#include "services/server/agents/runner_token.h"
#include "services/server/domain/spec/job_spec_builder.h"

namespace dstack::server {
namespace {

using std::chrono::milliseconds;
using namespace api::v1;  // NOLINT: the words of the contract read best without their package here

// The runner's socket appears some milliseconds after the container's start.
constexpr base::BackoffPolicy kLinkBackoff{milliseconds(5), milliseconds(1'000), 2.0, 0.2};
constexpr milliseconds kFlushRetry{500};
constexpr milliseconds kProgressInterval{1'000};
// The end of the logs follows the end of the command closely: waiting for it saves a transaction.
constexpr milliseconds kLogEndWait{15};

shim::v1::SessionRequest TerminateRequest(const std::string& task_id,
                                          milliseconds grace,
                                          const std::string& message) {
  shim::v1::SessionRequest request;
  shim::v1::TerminateTaskCommand* command = request.mutable_terminate_task();
  command->set_task_id(task_id);
  auto* duration = command->mutable_stop_policy()->mutable_grace();
  duration->set_seconds(grace.count() / 1000);
  duration->set_nanos(static_cast<std::int32_t>(grace.count() % 1000 * 1'000'000));
  command->set_message(message);
  return request;
}

}  // namespace

JobDriver::JobDriver(AgentServices& services,
                     JobHost& host,
                     exec::TimedExecutor& executor,
                     std::shared_ptr<Mailbox> mailbox,
                     JobAndRun row)
    : services_(services),
      host_(host),
      executor_(executor),
      mailbox_(std::move(mailbox)),
      job_(std::move(row.job)),
      run_(std::move(row.run)),
      usage_(job_.id, services.usage),
      link_backoff_(kLinkBackoff, services.random) {
  reports_.logs_ended = job_.logs_ended;
}

JobDriver::~JobDriver() {
  if (link_ != nullptr) link_->Close();
}

void JobDriver::SetRow(JobAndRun row) {
  job_ = std::move(row.job);
  run_ = std::move(row.run);
  reports_.logs_ended = reports_.logs_ended || job_.logs_ended;
}

void JobDriver::OnTaskStatus(const shim::v1::TaskStatus& status) {
  if (reports_.task.has_value() && status.revision() < reports_.task->revision()) return;
  const bool was_pulling =
      reports_.task.has_value() && reports_.task->state() == shim::v1::TASK_STATE_PULLING;
  reports_.task = status;
  if (was_pulling && status.state() == shim::v1::TASK_STATE_PULLING) {
    // Progress comes many times a second; the row follows once a second.
    if (progress_at_.has_value() && Now() < *progress_at_) {
      WakeAt(*progress_at_);
      return;
    }
    progress_at_ = Now() + kProgressInterval;
  }
  Drive();
}

void JobDriver::OnTaskRemoved() {
  if (!IsFinal(job_.status) && job_.status != JOB_STATUS_TERMINATING) {
    EndBy(JOB_TERMINATION_REASON_EXECUTOR_ERROR, "the task was removed on the host");
  }
  EndLogs();
  CloseLink();
  reports_.is_task_gone = true;
  Drive();
  if (!forwarded_.empty()) host_.RemoveForward(std::exchange(forwarded_, ""));
}

void JobDriver::OnCommandFailed(const shim::v1::CommandFailed& failure) {
  telemetry::Warn(
      "the shim refused a command",
      {{"job_id", job_.id}, {"reason", failure.reason()}, {"message", failure.message()}});
  if (is_submitted_ && !reports_.task.has_value()) {
    // A drained host is like a full one: the run's retry policy decides.
    const bool is_drained = failure.reason() == "HOST_DRAINING";
    EndBy(is_drained ? JOB_TERMINATION_REASON_FAILED_TO_START_DUE_TO_NO_CAPACITY
                     : JOB_TERMINATION_REASON_EXECUTOR_ERROR,
          "the host refused the task: " + failure.message());
    EndLogs();
    reports_.is_task_gone = true;
  }
  // A removal of a task that has not ended can be asked for again.
  is_remove_sent_ = false;
  Drive();
}

void JobDriver::OnSynced() { Drive(); }

void JobDriver::OnSessionLost() {
  CloseLink();
  forwarded_.clear();
  // The task is reported again, or it is gone.
  reports_.task.reset();
  is_submitted_ = false;
  is_remove_sent_ = false;
  is_kill_sent_ = false;
  stop_sent_.reset();
  runner_deadline_.reset();
  link_retry_at_.reset();
  link_backoff_.Reset();
}

void JobDriver::Abandon(const std::string& message) {
  if (!IsFinal(job_.status)) {
    EndBy(JOB_TERMINATION_REASON_INSTANCE_UNREACHABLE, message);
    EndLogs();
  }
  reports_.is_task_gone = true;
  Flush();
}

void JobDriver::Drive() {
  if (IsReleased() || !Flush()) return;
  if (IsReleased()) return;
  if (!host_.IsReady()) {
    DriveSilent();
  } else if (!reports_.task.has_value()) {
    DriveUnknownTask();
  } else if (reports_.task->state() == shim::v1::TASK_STATE_TERMINATED) {
    DriveEndedTask();
  } else {
    DriveLiveTask();
  }
}

bool JobDriver::AwaitsLogEnd() {
  if (reports_.logs_ended || link_ == nullptr || !IsRunnerFinished()) return false;
  if (!flush_at_.has_value()) flush_at_ = Now() + kLogEndWait;
  if (Now() >= *flush_at_) return false;
  WakeAt(*flush_at_);
  return true;
}

bool JobDriver::Flush() {
  Job changed = job_;
  if (!ApplyReports(reports_, services_.clock.Now(), changed)) return true;
  if (AwaitsLogEnd()) return false;
  const TimePoint now = services_.clock.Now();
  auto stored = services_.jobs.Update(host_.epoch(), job_.id, now, [this, now](Job& job) {
    return ApplyReports(reports_, now, job);
  });
  FAILPOINT("server.job_report_stored");
  if (!stored.ok()) {
    OnFlushFailed(stored.status());
    return false;
  }
  job_ = *std::move(stored);
  return true;
}

void JobDriver::OnFlushFailed(const absl::Status& status) {
  if (base::Reason(status) == "LEASE_LOST") {
    host_.OnLeaseLost();
  } else if (absl::IsNotFound(status)) {
    // Its run was deleted: whatever is on the host is nobody's.
    is_forgotten_ = true;
    CloseLink();
  } else {
    telemetry::Warn("a job's state cannot be stored, trying again",
                    {{"job_id", job_.id}, {"error", status}});
    WakeAt(Now() + kFlushRetry);
  }
}

// The host does not answer: the job is believed to go on, for a while.
void JobDriver::DriveSilent() {
  if (IsFinal(job_.status)) return;
  if (job_.status == JOB_STATUS_TERMINATING) {
    if (!stop_deadline_.has_value())
      stop_deadline_ = Now() + Grace() + services_.options.stop_slack;
    if (!IsDue(stop_deadline_)) return;
    EndBy(job_.termination_reason, job_.termination_message);
    EndLogs();
    Flush();
    return;
  }
  if (!job_.unreachable_since.has_value()) return;
  milliseconds limit = HostLostAfter(run_.spec);
  if (limit == milliseconds(0)) limit = services_.options.host_lost_after;
  const auto silent =
      std::chrono::duration_cast<milliseconds>(services_.clock.Now() - *job_.unreachable_since);
  if (silent < limit) {
    WakeAt(Now() + (limit - silent));
    return;
  }
  EndBy(JOB_TERMINATION_REASON_INSTANCE_UNREACHABLE,
        fmt::format("host {} did not answer for {} s", job_.instance_name, limit.count() / 1000));
  EndLogs();
  Flush();
}

void JobDriver::DriveUnknownTask() {
  if (is_submitted_ || reports_.is_task_gone) return;
  if (job_.status == JOB_STATUS_PROVISIONING && job_.task_revision == 0) {
    Submit();
    return;
  }
  if (!IsFinal(job_.status) && job_.status != JOB_STATUS_TERMINATING) {
    // Its command may have run: it must not be submitted again.
    EndBy(JOB_TERMINATION_REASON_EXECUTOR_ERROR, "the task is not known to the host any more");
  }
  EndLogs();
  reports_.is_task_gone = true;
  Flush();
}

void JobDriver::Submit() {
  std::vector<std::string> keys;
  // That of the user, unless the run names another one.
  if (!run_.spec.ssh_public_key().empty()) {
    keys.push_back(run_.spec.ssh_public_key());
  } else if (const auto key = services_.identities.LoadUserKey(run_.user_id);
             key.ok() && !key->public_key.empty()) {
    keys.push_back(key->public_key);
  }
  if (!host_.connection().project_public_key.empty())
    keys.push_back(host_.connection().project_public_key);
  shim::v1::SessionRequest request;
  *request.mutable_submit_task()->mutable_spec() =
      BuildTaskSpec(run_,
                    job_,
                    {.runner_token = RunnerToken(services_.token_key, job_.id),
                     .container_ssh_keys = std::move(keys),
                     .docker_image = services_.options.docker_image});
  is_submitted_ = true;
  is_fresh_ = true;
  FAILPOINT("server.before_submit");
  host_.SendToShim(std::move(request));
  FAILPOINT("server.after_submit");
}

void JobDriver::DriveLiveTask() {
  if (IsFinal(job_.status)) {
    LeaveOrFence();
    return;
  }
  if (job_.status == JOB_STATUS_TERMINATING && !IsRunnerFinished()) {
    DriveStop();
    if (IsFinal(job_.status)) return;
  }
  if (reports_.task->state() != shim::v1::TASK_STATE_RUNNING ||
      reports_.task->runner_socket().empty())
    return;
  if (IsRunnerFinished() && AreLogsOverdue()) {
    EndLogs();
    if (Flush()) WakeAt(Now());
    return;
  }
  EnsureLink();
  WatchRunnerStart();
  DriveStart();
}

// Nothing has been heard of the runner for too long although records may be missing.
bool JobDriver::AreLogsOverdue() {
  if (reports_.logs_ended) return false;
  if (!logs_deadline_.has_value() || (link_ != nullptr && link_->is_up())) {
    const AgentOptions& options = services_.options;
    logs_deadline_ =
        Now() + (MayHaveStarted() ? options.log_delivery_timeout : options.unstarted_log_timeout);
  }
  if (!IsDue(logs_deadline_)) return false;
  telemetry::Warn("the last logs of a job did not arrive",
                  {{"job_id", job_.id}, {"error", link_error_}});
  return true;
}

// The job has ended and its container has not: it leaves by itself once that is acknowledged,
// otherwise it is killed.
void JobDriver::LeaveOrFence() {
  if (link_ != nullptr && link_->is_up() && reports_.logs_ended && !is_end_acked_) {
    is_end_acked_ = true;
    leave_deadline_ = Now() + services_.options.leave_timeout;
    link_->AckEnd();
  }
  if (is_end_acked_ && !IsDue(leave_deadline_)) return;
  if (!std::exchange(is_kill_sent_, true)) Terminate(milliseconds(0), "the job has ended");
}

void JobDriver::DriveStart() {
  if (link_ == nullptr || !link_->is_up() || !reports_.runner.has_value()) return;
  const auto state = reports_.runner->state();
  if (state != runner::v1::JOB_STATE_WAITING && state != runner::v1::JOB_STATE_PREPARING) return;
  if (job_.status == JOB_STATUS_RUNNING) {
    // It ran once: it must not be started again, whatever the runner has forgotten.
    EndBy(JOB_TERMINATION_REASON_EXECUTOR_ERROR, "the runner does not know its job any more");
    Flush();
    WakeAt(Now());
    return;
  }
  // Only a job that is stored as accepted may start: from then on it is never submitted again.
  if (job_.status != JOB_STATUS_PULLING || job_.task_revision == 0) return;
  runner::v1::JobSpec spec = BuildJobSpec(run_, job_, host_.connection().env);
  AddJobKeys(services_.token_key, run_.id, &spec);
  link_->OfferJob(spec);
}

void JobDriver::DriveStop() {
  const milliseconds grace = MayHaveStarted() ? Grace() : milliseconds(0);
  if (!stop_sent_.has_value() || grace < *stop_sent_) {
    stop_sent_ = grace;
    stop_deadline_ = Now() + grace + services_.options.stop_slack;
    end_deadline_ = *stop_deadline_ + services_.options.stop_slack;
    const bool has_runner = link_ != nullptr && link_->is_up() && MayHaveStarted();
    if (has_runner) {
      link_->StopJob(grace);
    } else {
      Terminate(grace, Name(job_.termination_reason));
    }
  }
  if (IsDue(stop_deadline_) && !std::exchange(is_kill_sent_, true))
    Terminate(milliseconds(0), "the job did not stop in time");
  if (!IsDue(end_deadline_)) return;
  // Neither runner nor shim can end it. The blocks stay taken until the task is gone.
  EndBy(job_.termination_reason, job_.termination_message);
  EndLogs();
  Flush();
}

void JobDriver::DriveEndedTask() {
  if (!reports_.logs_ended) {
    const bool has_logs = !reports_.task->runner_socket().empty() && !IsFinal(job_.status);
    if (has_logs && !AreLogsOverdue()) {
      EnsureLink();
      return;
    }
    EndLogs();
    if (!Flush()) return;
  }
  if (IsFinal(job_.status)) Remove();
}

void JobDriver::Terminate(milliseconds grace, const std::string& message) {
  host_.SendToShim(TerminateRequest(job_.id.str(), grace, message));
}

void JobDriver::Remove() {
  if (std::exchange(is_remove_sent_, true)) return;
  CloseLink();
  shim::v1::SessionRequest request;
  request.mutable_remove_task()->set_task_id(job_.id.str());
  host_.SendToShim(std::move(request));
}

void JobDriver::EnsureLink() {
  if (link_ != nullptr || reports_.logs_ended) return;
  if (link_retry_at_.has_value() && !IsDue(link_retry_at_)) return;
  const auto retry = [this](const absl::Status& status) {
    link_error_ = status;
    link_retry_at_ = Now() + link_backoff_.Next();
    WakeAt(*link_retry_at_);
  };
  RunnerLink::Options options;
  options.job_id = job_.id;
  options.token = RunnerToken(services_.token_key, job_.id);
  options.epoch = host_.epoch().epoch;
  if (!is_fresh_) {
    auto positions = services_.logs.Positions(job_.id);
    if (!positions.ok()) return retry(positions.status());
    options.positions = *std::move(positions);
  }
  auto socket = host_.Forward(reports_.task->runner_socket());
  if (!socket.ok()) return retry(socket.status());
  forwarded_ = reports_.task->runner_socket();
  options.socket = *std::move(socket);
  link_ = RunnerLink::Open(mailbox_, services_.ingest, *this, std::move(options));
}

void JobDriver::CloseLink() {
  if (link_ == nullptr) return;
  link_->Close();
  link_.reset();
}

void JobDriver::WatchRunnerStart() {
  if (reports_.runner.has_value()) {
    runner_deadline_.reset();
    return;
  }
  if (!runner_deadline_.has_value())
    runner_deadline_ = Now() + services_.options.runner_start_timeout;
  if (job_.status == JOB_STATUS_TERMINATING || !IsDue(runner_deadline_)) return;
  EndBy(JOB_TERMINATION_REASON_WAITING_RUNNER_LIMIT_EXCEEDED,
        fmt::format("the runner did not answer for {} s: {}",
                    services_.options.runner_start_timeout.count() / 1000,
                    base::Message(link_error_)));
  if (Flush()) WakeAt(Now());
}

void JobDriver::OnRunnerStatus(const runner::v1::JobStatus& status) {
  link_backoff_.Reset();
  if (reports_.runner.has_value() && status.revision() < reports_.runner->revision()) return;
  reports_.runner = status;
  Drive();
}

void JobDriver::OnTaskMetrics(const shim::v1::TaskMetrics& metrics, TimePoint time) {
  usage_.AddOutside(SampleOfTask(metrics, time));
}

void JobDriver::OnJobMetrics(const runner::v1::JobMetrics& metrics) {
  usage_.AddInside(SampleOfJob(metrics, services_.clock.Now()));
}

void JobDriver::OnSshActivity(const runner::v1::SshActivity& activity) {
  usage_.SetSshActivity(activity);
}

absl::StatusOr<std::string> JobDriver::LoadArchive(const std::string& digest) {
  return services_.files.Get(run_.user_id, digest);
}

void JobDriver::OnJobRefused(const std::string& message) {
  EndBy(JOB_TERMINATION_REASON_EXECUTOR_ERROR, message);
  Drive();
}

void JobDriver::OnLogsEnded() {
  reports_.logs_ended = true;
  Drive();
}

void JobDriver::OnRunnerLinkEnded(const absl::Status& status) {
  const bool was_up = link_ != nullptr && link_->is_up();
  link_.reset();
  link_error_ = status;
  // From now on the stored positions count.
  if (was_up) is_fresh_ = false;
  if (reports_.logs_ended) return;
  link_retry_at_ = Now() + link_backoff_.Next();
  WakeAt(*link_retry_at_);
}

void JobDriver::EndLogs() {
  if (std::exchange(reports_.logs_ended, true)) return;
  for (const auto source : {common::v1::LOG_SOURCE_JOB, common::v1::LOG_SOURCE_RUNNER}) {
    LogStore::Append append{job_.id, {}, /*is_end=*/true};
    append.batch.set_source(source);
    services_.ingest.Append(std::move(append), [](const absl::StatusOr<std::uint64_t>&) {});
  }
}

void JobDriver::EndBy(JobTerminationReason reason, const std::string& message) {
  if (!reports_.verdict.has_value()) reports_.verdict = {reason, message};
}

bool JobDriver::MayHaveStarted() const {
  if (job_.running_at.has_value()) return true;
  return reports_.runner.has_value() && reports_.runner->state() >= runner::v1::JOB_STATE_PREPARING;
}

bool JobDriver::IsRunnerFinished() const {
  return reports_.runner.has_value() && reports_.runner->state() == runner::v1::JOB_STATE_FINISHED;
}

bool JobDriver::IsDue(const std::optional<base::MonotonicTime>& time) {
  if (!time.has_value()) return false;
  if (Now() >= *time) return true;
  WakeAt(*time);
  return false;
}

void JobDriver::WakeAt(base::MonotonicTime time) {
  if (wake_at_.has_value() && *wake_at_ <= time && *wake_at_ > Now()) return;
  wake_at_ = time;
  const base::Duration delay = std::max<base::Duration>(time - Now(), base::Duration::zero());
  executor_.PostAfter(delay, [weak = weak_from_this(), time] {
    const auto self = weak.lock();
    if (self == nullptr) return;
    if (self->wake_at_ == time) self->wake_at_.reset();
    self->Drive();
  });
}

}  // namespace dstack::server
