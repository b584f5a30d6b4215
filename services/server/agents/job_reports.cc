#include "services/server/agents/job_reports.h"

#include "fmt/format.h"

namespace dstack::server {
namespace {

using namespace api::v1;  // NOLINT: the words of the contract read best without their package here

constexpr std::uint32_t kSshPort = 10022;  // of the sshd in a container with a network of its own
constexpr int kSignalBase = 128;

JobEnd EndOfCommand(const runner::v1::JobStatus& status) {
  JobEnd end;
  end.message = status.message();
  if (status.has_signal()) {
    end.exit_status = kSignalBase + status.signal();
  } else if (status.has_exit_status()) {
    end.exit_status = status.exit_status();
  }
  switch (status.finish_reason()) {
    case runner::v1::FINISH_REASON_EXITED:
      end.reason = end.exit_status == 0 ? JOB_TERMINATION_REASON_DONE_BY_RUNNER
                                        : JOB_TERMINATION_REASON_CONTAINER_EXITED_WITH_ERROR;
      break;
    case runner::v1::FINISH_REASON_STOPPED:
      // Somebody else than the server stopped it, for example with the engine's own tool; a stop by
      // the server has its reason already.
      end.reason = JOB_TERMINATION_REASON_CONTAINER_EXITED_WITH_ERROR;
      if (end.message.empty()) end.message = "the container was stopped on the host";
      break;
    case runner::v1::FINISH_REASON_MAX_DURATION_EXCEEDED:
      end.reason = JOB_TERMINATION_REASON_MAX_DURATION_EXCEEDED;
      break;
    case runner::v1::FINISH_REASON_LOST:
      end.reason = JOB_TERMINATION_REASON_CONTAINER_EXITED_WITH_ERROR;
      if (end.message.empty())
        end.message = "the container ended before the end of the command was seen";
      break;
    default:
      end.reason = JOB_TERMINATION_REASON_EXECUTOR_ERROR;
      break;
  }
  return end;
}

JobEnd EndOfTask(const shim::v1::TaskStatus& status) {
  JobEnd end;
  end.message = status.termination_message();
  if (status.has_exit_status()) end.exit_status = status.exit_status();
  switch (status.termination_reason()) {
    case shim::v1::TASK_TERMINATION_REASON_CREATING_CONTAINER_ERROR:
      end.reason = JOB_TERMINATION_REASON_CREATING_CONTAINER_ERROR;
      break;
    case shim::v1::TASK_TERMINATION_REASON_EXECUTOR_ERROR:
      end.reason = JOB_TERMINATION_REASON_EXECUTOR_ERROR;
      break;
    case shim::v1::TASK_TERMINATION_REASON_PORTS_BINDING_FAILED:
      end.reason = JOB_TERMINATION_REASON_PORTS_BINDING_FAILED;
      break;
    case shim::v1::TASK_TERMINATION_REASON_TERMINATED_BY_SERVER:
      end.reason = JOB_TERMINATION_REASON_TERMINATED_BY_SERVER;
      break;
    default:
      // Status 0 of the container says nothing about a command whose end nobody reported.
      end.reason = JOB_TERMINATION_REASON_CONTAINER_EXITED_WITH_ERROR;
      if (end.message.empty())
        end.message = "the container ended and its runner did not report the end of the command";
      break;
  }
  if (status.is_oom_killed()) end.message = "the container ran out of memory";
  return end;
}

bool IsFinished(const std::optional<runner::v1::JobStatus>& runner) {
  return runner.has_value() && runner->state() == runner::v1::JOB_STATE_FINISHED;
}

bool IsTerminated(const std::optional<shim::v1::TaskStatus>& task) {
  return task.has_value() && task->state() == shim::v1::TASK_STATE_TERMINATED;
}

void ApplyPullProgress(const shim::v1::TaskStatus& task, Job& job) {
  if (!task.has_pull_progress()) {
    job.pull_progress.reset();
    return;
  }
  ImagePullProgress progress;
  progress.set_downloaded_bytes(task.pull_progress().downloaded_bytes());
  progress.set_extracted_bytes(task.pull_progress().extracted_bytes());
  progress.set_total_bytes(task.pull_progress().total_bytes());
  progress.set_is_total_final(task.pull_progress().is_total_final());
  job.pull_progress = progress;
}

std::uint32_t SshPortOf(const JobReports& reports) {
  if (reports.task.has_value()) {
    for (const shim::v1::PortMapping& port : reports.task->ports()) {
      if (port.container_port() == kSshPort) return port.host_port();
    }
    // Ports are published, but not this one.
    if (reports.task->ports_size() > 0) return 0;
  }
  return reports.runner.has_value() ? reports.runner->ssh_port() : 0;
}

void ApplyTask(const shim::v1::TaskStatus& task, Job& job) {
  if (task.revision() < job.task_revision) return;
  job.task_revision = task.revision();
  if (job.status == JOB_STATUS_PROVISIONING) job.status = JOB_STATUS_PULLING;
  ApplyPullProgress(task, job);
}

void ApplyRunner(const JobReports& reports, TimePoint now, Job& job) {
  const runner::v1::JobStatus& runner = *reports.runner;
  if (runner.revision() < job.runner_revision) return;
  job.runner_revision = runner.revision();
  if (runner.state() < runner::v1::JOB_STATE_RUNNING) return;
  if (!job.running_at.has_value() && runner.state() != runner::v1::JOB_STATE_FINISHED)
    job.running_at = now;
  if (runner.state() == runner::v1::JOB_STATE_FINISHED) return;
  if (job.status == JOB_STATUS_PROVISIONING || job.status == JOB_STATUS_PULLING)
    job.status = JOB_STATUS_RUNNING;
  job.pull_progress.reset();
  job.ssh_port = SshPortOf(reports);
}

void ApplyEnd(const JobEnd& end, Job& job) {
  if (job.status != JOB_STATUS_TERMINATING) {
    job.status = JOB_STATUS_TERMINATING;
    job.termination_reason = end.reason;
    job.termination_message = end.message;
  }
  if (!job.exit_status.has_value()) job.exit_status = end.exit_status;
}

// All fields that reports can change.
bool Differs(const Job& a, const Job& b) {
  const auto text = [](const std::optional<ImagePullProgress>& progress) {
    return progress.has_value() ? progress->SerializeAsString() : std::string();
  };
  return a.status != b.status || a.termination_reason != b.termination_reason ||
         a.termination_message != b.termination_message || a.exit_status != b.exit_status ||
         a.is_released != b.is_released || a.running_at != b.running_at ||
         a.finished_at != b.finished_at || a.ssh_port != b.ssh_port ||
         a.logs_ended != b.logs_ended || text(a.pull_progress) != text(b.pull_progress);
}

}  // namespace

std::optional<JobEnd> EndOf(const JobReports& reports) {
  if (IsFinished(reports.runner)) {
    JobEnd end = EndOfCommand(*reports.runner);
    if (reports.task.has_value() && reports.task->is_oom_killed())
      end.message = "the container ran out of memory";
    return end;
  }
  // Only once its logs are in: the runner's own word may still come with them.
  if (IsTerminated(reports.task) && reports.logs_ended) return EndOfTask(*reports.task);
  if (reports.verdict.has_value())
    return JobEnd{reports.verdict->reason, reports.verdict->message, std::nullopt};
  return std::nullopt;
}

bool ApplyReports(const JobReports& reports, TimePoint now, Job& job) {
  const Job before = job;
  if (!IsFinal(job.status)) {
    if (reports.task.has_value()) ApplyTask(*reports.task, job);
    if (reports.runner.has_value()) ApplyRunner(reports, now, job);
    if (const auto end = EndOf(reports); end.has_value()) ApplyEnd(*end, job);
    const bool is_over = EndOf(reports).has_value() || reports.is_task_gone;
    if (job.status == JOB_STATUS_TERMINATING && is_over &&
        (reports.logs_ended || reports.is_task_gone)) {
      job.logs_ended = true;
      job.status = FinalStatusOf(job.termination_reason);
      job.finished_at = now;
      job.pull_progress.reset();
    }
  }
  if (IsFinal(job.status) && reports.is_task_gone) job.is_released = true;
  return Differs(before, job);
}

}  // namespace dstack::server
