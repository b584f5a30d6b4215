#include "services/server/domain/run/run.h"

#include "services/server/domain/spec/names.h"

namespace dstack::server {

using namespace api::v1;  // NOLINT: the words of the contract read best without their package here

bool IsFinal(RunStatus status) {
  return status == RUN_STATUS_TERMINATED || status == RUN_STATUS_FAILED ||
         status == RUN_STATUS_DONE;
}

RunStatus FinalStatusOf(RunTerminationReason reason) {
  switch (reason) {
    case RUN_TERMINATION_REASON_ALL_JOBS_DONE:
      return RUN_STATUS_DONE;
    case RUN_TERMINATION_REASON_STOPPED_BY_USER:
    case RUN_TERMINATION_REASON_ABORTED_BY_USER:
      return RUN_STATUS_TERMINATED;
    default:
      return RUN_STATUS_FAILED;
  }
}

std::string Name(RunStatus status) { return EnumWord(RunStatus_Name(status), "RUN_STATUS_"); }

std::string Name(RunTerminationReason reason) {
  return EnumWord(RunTerminationReason_Name(reason), "RUN_TERMINATION_REASON_");
}

std::string StatusMessage(const Run& run,
                          const std::string& newest_job_message,
                          bool is_pulling,
                          bool is_retrying) {
  if (is_pulling) return "pulling";
  if (is_retrying) return "retrying";
  if (IsFinal(run.status) && !newest_job_message.empty()) return newest_job_message;
  return Name(run.status);
}

std::string ErrorText(const Run& run) {
  switch (run.termination_reason) {
    case RUN_TERMINATION_REASON_RETRY_LIMIT_EXCEEDED:
      return "retry limit exceeded";
    case RUN_TERMINATION_REASON_SERVER_ERROR:
      return "server error";
    default:
      return "";
  }
}

}  // namespace dstack::server
