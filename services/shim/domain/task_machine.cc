#include "services/shim/domain/task_machine.h"

namespace dstack::shim {

std::string_view StateName(v1::TaskState state) {
  switch (state) {
    case v1::TASK_STATE_PENDING:
      return "PENDING";
    case v1::TASK_STATE_PREPARING:
      return "PREPARING";
    case v1::TASK_STATE_PULLING:
      return "PULLING";
    case v1::TASK_STATE_CREATING:
      return "CREATING";
    case v1::TASK_STATE_RUNNING:
      return "RUNNING";
    case v1::TASK_STATE_TERMINATED:
      return "TERMINATED";
    default:
      return "UNSPECIFIED";
  }
}

std::string_view EventName(TaskEvent event) {
  switch (event) {
    case TaskEvent::kStart:
      return "start";
    case TaskEvent::kPrepared:
      return "prepared";
    case TaskEvent::kImageReady:
      return "image_ready";
    case TaskEvent::kStarted:
      return "started";
    case TaskEvent::kEnded:
      return "ended";
  }
  return "unknown";
}

absl::StatusOr<v1::TaskState> NextState(v1::TaskState from, TaskEvent event) {
  return fsm::NextOrError(kTaskEdges, from, event, "task", StateName, EventName);
}

}  // namespace dstack::shim
