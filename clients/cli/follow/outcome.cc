#include "clients/cli/follow/outcome.h"

#include <fmt/format.h>

#include "clients/cli/render/enum_word.h"
#include "clients/cli/render/run_table.h"
#include "clients/cli/render/text.h"

namespace dstack::cli {
namespace {

using api::v1::JobSubmission;
using api::v1::Run;

// The newest attempt of the first job that failed; nullptr if none did.
const JobSubmission* FirstFailure(const Run& run) {
  for (const auto& job : run.jobs()) {
    const JobSubmission* latest = LatestSubmission(job);
    if (latest != nullptr && latest->status() == api::v1::JOB_STATUS_FAILED) return latest;
  }
  return nullptr;
}

bool IsNoCapacity(const JobSubmission& submission) {
  return submission.termination_reason() ==
         api::v1::JOB_TERMINATION_REASON_FAILED_TO_START_DUE_TO_NO_CAPACITY;
}

}  // namespace

int ExitCode(const Run& run) {
  if (run.status() == api::v1::RUN_STATUS_DONE) return 0;
  if (run.status() != api::v1::RUN_STATUS_FAILED) return 1;
  for (const auto& job : run.jobs()) {
    const JobSubmission* latest = LatestSubmission(job);
    if (latest == nullptr || latest->status() != api::v1::JOB_STATUS_FAILED) continue;
    const bool is_exit =
        latest->termination_reason() == api::v1::JOB_TERMINATION_REASON_CONTAINER_EXITED_WITH_ERROR;
    const int status = latest->exit_status();
    if (is_exit && status > 0 && status <= 255) return status;
  }
  return 1;
}

std::string OutcomeText(const Run& run) {
  std::string text = Capitalise(EnumWord(api::v1::RunStatus_Name(run.status()), "RUN_STATUS_"));
  const JobSubmission* failure = FirstFailure(run);
  if (failure != nullptr && !failure->status_message().empty()) {
    text += fmt::format(" ({})", Neutralise(failure->status_message()));
  }
  const std::string reason = ReasonText(run);
  return reason.empty() ? text : text + "\n" + Capitalise(NeutraliseLines(reason));
}

std::string ReasonText(const Run& run) {
  if (run.status() == api::v1::RUN_STATUS_DONE) return "";
  const JobSubmission* failure = FirstFailure(run);
  if (failure != nullptr && !failure->termination_message().empty()) {
    return failure->termination_message();
  }
  if (!run.error().empty()) return run.error();
  switch (run.termination_reason()) {
    case api::v1::RUN_TERMINATION_REASON_STOPPED_BY_USER:
      return "stopped by a user";
    case api::v1::RUN_TERMINATION_REASON_ABORTED_BY_USER:
      return "aborted by a user";
    case api::v1::RUN_TERMINATION_REASON_RETRY_LIMIT_EXCEEDED:
      return "the retries are used up";
    case api::v1::RUN_TERMINATION_REASON_SERVER_ERROR:
      return "the server had an error";
    default:
      return "";
  }
}

bool HasDiagnostics(const Run& run) {
  if (run.status() == api::v1::RUN_STATUS_DONE) return false;
  const JobSubmission* failure = FirstFailure(run);
  return failure != nullptr && !IsNoCapacity(*failure);
}

}  // namespace dstack::cli
