#pragma once

#include <array>
#include <string_view>

#include "dstack/runner/v1/job.pb.h"

#include "libs/fsm/transition_table.h"

namespace dstack::runner {

// What moves a job on.
enum class JobEvent {
  kSubmit,   // the job's spec is on disk
  kStart,    // the command was started
  kFail,     // it cannot be prepared or started
  kStop,     // it shall end: StopJob, SIGTERM, or max_duration is over
  kAbandon,  // stopped before it was started
  kExit,     // it ended, and so did all its processes
  kLose,     // its end was not seen
};

// States are those of the protocol.
inline constexpr std::array kJobEdges = {
    fsm::Edge{v1::JOB_STATE_WAITING, JobEvent::kSubmit, v1::JOB_STATE_PREPARING},
    fsm::Edge{v1::JOB_STATE_WAITING, JobEvent::kAbandon, v1::JOB_STATE_FINISHED},
    fsm::Edge{v1::JOB_STATE_WAITING, JobEvent::kLose, v1::JOB_STATE_FINISHED},
    fsm::Edge{v1::JOB_STATE_PREPARING, JobEvent::kStart, v1::JOB_STATE_RUNNING},
    fsm::Edge{v1::JOB_STATE_PREPARING, JobEvent::kFail, v1::JOB_STATE_FINISHED},
    fsm::Edge{v1::JOB_STATE_PREPARING, JobEvent::kAbandon, v1::JOB_STATE_FINISHED},
    fsm::Edge{v1::JOB_STATE_PREPARING, JobEvent::kLose, v1::JOB_STATE_FINISHED},
    // A crash after exit.pb and before status.pb leaves the state before the command's.
    fsm::Edge{v1::JOB_STATE_PREPARING, JobEvent::kExit, v1::JOB_STATE_FINISHED},
    fsm::Edge{v1::JOB_STATE_RUNNING, JobEvent::kStop, v1::JOB_STATE_STOPPING},
    fsm::Edge{v1::JOB_STATE_RUNNING, JobEvent::kExit, v1::JOB_STATE_FINISHED},
    fsm::Edge{v1::JOB_STATE_RUNNING, JobEvent::kLose, v1::JOB_STATE_FINISHED},
    fsm::Edge{v1::JOB_STATE_STOPPING, JobEvent::kExit, v1::JOB_STATE_FINISHED},
    fsm::Edge{v1::JOB_STATE_STOPPING, JobEvent::kLose, v1::JOB_STATE_FINISHED},
};
static_assert(fsm::IsDeterministic(kJobEdges));
static_assert(fsm::HasNoExit(kJobEdges, v1::JOB_STATE_FINISHED));
static_assert(fsm::AllReachable(kJobEdges, v1::JOB_STATE_WAITING));
static_assert(fsm::AlwaysCanReach(kJobEdges, v1::JOB_STATE_FINISHED));

// "RUNNING", "FINISHED", ...
std::string_view Name(v1::JobState state);
std::string_view Name(JobEvent event);

}  // namespace dstack::runner
