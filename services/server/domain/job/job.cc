#include "services/server/domain/job/job.h"

#include "fmt/format.h"
#include "services/server/domain/spec/names.h"

namespace dstack::server {

using namespace api::v1;  // NOLINT: the words of the contract read best without their package here

bool IsFinal(JobStatus status) {
  return status == JOB_STATUS_TERMINATED || status == JOB_STATUS_ABORTED ||
         status == JOB_STATUS_FAILED || status == JOB_STATUS_DONE;
}

JobStatus FinalStatusOf(JobTerminationReason reason) {
  switch (reason) {
    case JOB_TERMINATION_REASON_DONE_BY_RUNNER:
      return JOB_STATUS_DONE;
    case JOB_TERMINATION_REASON_ABORTED_BY_USER:
      return JOB_STATUS_ABORTED;
    case JOB_TERMINATION_REASON_TERMINATED_BY_USER:
    case JOB_TERMINATION_REASON_SCALED_DOWN:
    case JOB_TERMINATION_REASON_TERMINATED_BY_SERVER:
    case JOB_TERMINATION_REASON_INACTIVITY_DURATION_EXCEEDED:
    case JOB_TERMINATION_REASON_TERMINATED_DUE_TO_UTILIZATION_POLICY:
    case JOB_TERMINATION_REASON_MAX_DURATION_EXCEEDED:
      return JOB_STATUS_TERMINATED;
    default:
      return JOB_STATUS_FAILED;
  }
}

std::string Name(JobStatus status) { return EnumWord(JobStatus_Name(status), "JOB_STATUS_"); }

std::string Name(JobTerminationReason reason) {
  return EnumWord(JobTerminationReason_Name(reason), "JOB_TERMINATION_REASON_");
}

namespace {

std::string FailedMessage(const Job& job) {
  switch (job.termination_reason) {
    case JOB_TERMINATION_REASON_CONTAINER_EXITED_WITH_ERROR:
      return job.exit_status.has_value() ? fmt::format("exited ({})", *job.exit_status) : "error";
    case JOB_TERMINATION_REASON_FAILED_TO_START_DUE_TO_NO_CAPACITY:
      return job.termination_message.rfind("no fleets", 0) == 0 ? "no fleets" : "no capacity";
    case JOB_TERMINATION_REASON_INTERRUPTED_BY_NO_CAPACITY:
      return "interrupted";
    default:
      return "error";
  }
}

}  // namespace

std::string StatusMessage(const Job& job) {
  if (job.unreachable_since.has_value() && !IsFinal(job.status)) return "unreachable";
  switch (job.status) {
    case JOB_STATUS_DONE:
      return "exited (0)";
    case JOB_STATUS_FAILED:
      return FailedMessage(job);
    case JOB_STATUS_TERMINATED:
      return job.termination_reason == JOB_TERMINATION_REASON_TERMINATED_BY_USER ? "stopped"
                                                                                 : "terminated";
    default:
      return Name(job.status);
  }
}

std::string ErrorText(const Job& job) {
  switch (job.termination_reason) {
    case JOB_TERMINATION_REASON_INSTANCE_UNREACHABLE:
      return "instance unreachable";
    case JOB_TERMINATION_REASON_WAITING_INSTANCE_LIMIT_EXCEEDED:
      return "waiting instance limit exceeded";
    case JOB_TERMINATION_REASON_WAITING_RUNNER_LIMIT_EXCEEDED:
      return "waiting runner limit exceeded";
    case JOB_TERMINATION_REASON_VOLUME_ERROR:
      return "volume error";
    case JOB_TERMINATION_REASON_SCALED_DOWN:
      return "scaled down";
    case JOB_TERMINATION_REASON_INACTIVITY_DURATION_EXCEEDED:
      return "inactivity duration exceeded";
    case JOB_TERMINATION_REASON_TERMINATED_DUE_TO_UTILIZATION_POLICY:
      return "utilization policy";
    case JOB_TERMINATION_REASON_PORTS_BINDING_FAILED:
      return "ports binding failed";
    case JOB_TERMINATION_REASON_CREATING_CONTAINER_ERROR:
      return "runner error";
    case JOB_TERMINATION_REASON_EXECUTOR_ERROR:
      return "executor error";
    case JOB_TERMINATION_REASON_MAX_DURATION_EXCEEDED:
      return "max duration exceeded";
    case JOB_TERMINATION_REASON_INSTANCE_ACCESS_REVOKED:
      return "instance access revoked";
    default:
      return "";
  }
}

}  // namespace dstack::server
