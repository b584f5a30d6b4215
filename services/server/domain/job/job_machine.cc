#include "services/server/domain/job/job_machine.h"

#include "fmt/format.h"
#include "libs/base/status.h"

namespace dstack::server {

const char* Name(JobEvent event) {
  switch (event) {
    case JobEvent::kAssign:
      return "assign";
    case JobEvent::kAccept:
      return "accept";
    case JobEvent::kStart:
      return "start";
    case JobEvent::kEnd:
      return "end";
    case JobEvent::kDrop:
      return "drop";
    case JobEvent::kFinish:
      return "finish";
  }
  return "unknown";
}

absl::Status CheckJobTransition(JobStatus from, JobStatus to) {
  const auto node = [](JobStatus status) {
    return IsFinal(status) ? api::v1::JOB_STATUS_TERMINATED : status;
  };
  if (from == to) return absl::OkStatus();
  if (!IsFinal(from) && fsm::IsReachable(kJobEdges, from, node(to))) return absl::OkStatus();
  return base::Error(absl::StatusCode::kFailedPrecondition,
                     "INVALID_STATE",
                     fmt::format("a job cannot go from {} to {}", Name(from), Name(to)),
                     {{"from", Name(from)}, {"to", Name(to)}});
}

}  // namespace dstack::server
