#pragma once

#include <array>
#include <string_view>

#include <absl/status/statusor.h>

#include "dstack/shim/v1/task.pb.h"

#include "libs/fsm/transition_table.h"

namespace dstack::shim {

enum class TaskEvent {
  kStart,       // the journal holds the task
  kPrepared,    // directories, files and accelerators are there
  kImageReady,  // the image is on the host
  kStarted,     // the container was started
  kEnded,       // it is over, for whatever reason
};

// The life of a task. README.md shows it as a picture.
inline constexpr std::array kTaskEdges = {
    fsm::Edge{v1::TASK_STATE_PENDING, TaskEvent::kStart, v1::TASK_STATE_PREPARING},
    fsm::Edge{v1::TASK_STATE_PREPARING, TaskEvent::kPrepared, v1::TASK_STATE_PULLING},
    fsm::Edge{v1::TASK_STATE_PULLING, TaskEvent::kImageReady, v1::TASK_STATE_CREATING},
    fsm::Edge{v1::TASK_STATE_CREATING, TaskEvent::kStarted, v1::TASK_STATE_RUNNING},
    fsm::Edge{v1::TASK_STATE_PENDING, TaskEvent::kEnded, v1::TASK_STATE_TERMINATED},
    fsm::Edge{v1::TASK_STATE_PREPARING, TaskEvent::kEnded, v1::TASK_STATE_TERMINATED},
    fsm::Edge{v1::TASK_STATE_PULLING, TaskEvent::kEnded, v1::TASK_STATE_TERMINATED},
    fsm::Edge{v1::TASK_STATE_CREATING, TaskEvent::kEnded, v1::TASK_STATE_TERMINATED},
    fsm::Edge{v1::TASK_STATE_RUNNING, TaskEvent::kEnded, v1::TASK_STATE_TERMINATED},
};
static_assert(fsm::IsDeterministic(kTaskEdges));
static_assert(fsm::HasNoExit(kTaskEdges, v1::TASK_STATE_TERMINATED));
static_assert(fsm::AllReachable(kTaskEdges, v1::TASK_STATE_PENDING));
static_assert(fsm::AlwaysCanReach(kTaskEdges, v1::TASK_STATE_TERMINATED));

// "PENDING", ...
std::string_view StateName(v1::TaskState state);
// "start", ...
std::string_view EventName(TaskEvent event);

// FAILED_PRECONDITION, naming both, when the event does not fit.
absl::StatusOr<v1::TaskState> NextState(v1::TaskState from, TaskEvent event);

}  // namespace dstack::shim
