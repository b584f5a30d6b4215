#pragma once

#include <array>

#include "absl/status/status.h"
#include "libs/fsm/transition_table.h"
#include "services/server/domain/job/job.h"

namespace dstack::server {

// What happens to a job.
enum class JobEvent {
  kAssign,  // the scheduler gave it a host
  kAccept,  // the host's shim took the task
  kStart,   // the runner started the command
  kEnd,     // somebody or something ends it; the reason says who
  kDrop,    // ended while it had no host: nothing is to be cleaned up
  kFinish,  // its end is known and its logs are stored
};

inline constexpr std::array kJobEdges = {
    fsm::Edge{api::v1::JOB_STATUS_SUBMITTED, JobEvent::kAssign, api::v1::JOB_STATUS_PROVISIONING},
    fsm::Edge{api::v1::JOB_STATUS_SUBMITTED, JobEvent::kDrop, api::v1::JOB_STATUS_TERMINATED},
    fsm::Edge{api::v1::JOB_STATUS_PROVISIONING, JobEvent::kAccept, api::v1::JOB_STATUS_PULLING},
    fsm::Edge{api::v1::JOB_STATUS_PROVISIONING, JobEvent::kStart, api::v1::JOB_STATUS_RUNNING},
    fsm::Edge{api::v1::JOB_STATUS_PROVISIONING, JobEvent::kEnd, api::v1::JOB_STATUS_TERMINATING},
    fsm::Edge{api::v1::JOB_STATUS_PULLING, JobEvent::kStart, api::v1::JOB_STATUS_RUNNING},
    fsm::Edge{api::v1::JOB_STATUS_PULLING, JobEvent::kEnd, api::v1::JOB_STATUS_TERMINATING},
    fsm::Edge{api::v1::JOB_STATUS_RUNNING, JobEvent::kEnd, api::v1::JOB_STATUS_TERMINATING},
    fsm::Edge{api::v1::JOB_STATUS_TERMINATING, JobEvent::kFinish, api::v1::JOB_STATUS_TERMINATED},
};
static_assert(fsm::IsDeterministic(kJobEdges));
static_assert(fsm::HasNoExit(kJobEdges, api::v1::JOB_STATUS_TERMINATED));
static_assert(fsm::AllReachable(kJobEdges, api::v1::JOB_STATUS_SUBMITTED));
static_assert(fsm::AlwaysCanReach(kJobEdges, api::v1::JOB_STATUS_TERMINATED));

const char* Name(JobEvent event);

// Where the machine may go in one write. A transaction may take several edges at once (a job that
// ends before its start was reported). The four final states are one node of the table, told apart
// by FinalStatusOf(reason). Staying is always allowed. FAILED_PRECONDITION/INVALID_STATE names both
// sides.
absl::Status CheckJobTransition(JobStatus from, JobStatus to);

}  // namespace dstack::server
