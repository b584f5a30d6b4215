#include "services/runner/domain/job_machine.h"

namespace dstack::runner {

std::string_view Name(v1::JobState state) {
  constexpr std::string_view kPrefix = "JOB_STATE_";
  // An enum value that this version does not know has no name.
  const std::string& name = v1::JobState_Name(state);
  return name.empty() ? "UNKNOWN" : std::string_view(name).substr(kPrefix.size());
}

std::string_view Name(JobEvent event) {
  switch (event) {
    case JobEvent::kSubmit:
      return "submit";
    case JobEvent::kStart:
      return "start";
    case JobEvent::kFail:
      return "fail";
    case JobEvent::kStop:
      return "stop";
    case JobEvent::kAbandon:
      return "abandon";
    case JobEvent::kExit:
      return "exit";
    case JobEvent::kLose:
      return "lose";
  }
  return "unknown";
}

}  // namespace dstack::runner
