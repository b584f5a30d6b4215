#pragma once

#include <array>

#include "libs/fsm/transition_table.h"
#include "services/server/domain/run/run.h"

namespace dstack::server {

// What happens to a run. RollUp finds out; the newest submissions of its jobs are the cause of
// everything but the time and the stop.
enum class RunEvent {
  kWake,  // the time in next_wakeup_at has come
  kJobHasHost,
  kJobRuns,
  kJobsWait,  // all jobs wait for hosts again
  kRetry,     // a job failed, its retry policy covers it and no job is left
  kEnd,       // done, failed or stopped; the reason says which
  kAllJobsFinal,
};

inline constexpr std::array kRunEdges = {
    fsm::Edge{api::v1::RUN_STATUS_PENDING, RunEvent::kWake, api::v1::RUN_STATUS_SUBMITTED},
    fsm::Edge{api::v1::RUN_STATUS_PENDING, RunEvent::kEnd, api::v1::RUN_STATUS_TERMINATING},
    fsm::Edge{
        api::v1::RUN_STATUS_SUBMITTED, RunEvent::kJobHasHost, api::v1::RUN_STATUS_PROVISIONING},
    fsm::Edge{api::v1::RUN_STATUS_SUBMITTED, RunEvent::kJobRuns, api::v1::RUN_STATUS_RUNNING},
    fsm::Edge{api::v1::RUN_STATUS_SUBMITTED, RunEvent::kRetry, api::v1::RUN_STATUS_PENDING},
    fsm::Edge{api::v1::RUN_STATUS_SUBMITTED, RunEvent::kEnd, api::v1::RUN_STATUS_TERMINATING},
    fsm::Edge{api::v1::RUN_STATUS_PROVISIONING, RunEvent::kJobRuns, api::v1::RUN_STATUS_RUNNING},
    fsm::Edge{api::v1::RUN_STATUS_PROVISIONING, RunEvent::kJobsWait, api::v1::RUN_STATUS_SUBMITTED},
    fsm::Edge{api::v1::RUN_STATUS_PROVISIONING, RunEvent::kRetry, api::v1::RUN_STATUS_PENDING},
    fsm::Edge{api::v1::RUN_STATUS_PROVISIONING, RunEvent::kEnd, api::v1::RUN_STATUS_TERMINATING},
    fsm::Edge{api::v1::RUN_STATUS_RUNNING, RunEvent::kJobHasHost, api::v1::RUN_STATUS_PROVISIONING},
    fsm::Edge{api::v1::RUN_STATUS_RUNNING, RunEvent::kRetry, api::v1::RUN_STATUS_PENDING},
    fsm::Edge{api::v1::RUN_STATUS_RUNNING, RunEvent::kEnd, api::v1::RUN_STATUS_TERMINATING},
    fsm::Edge{
        api::v1::RUN_STATUS_TERMINATING, RunEvent::kAllJobsFinal, api::v1::RUN_STATUS_TERMINATED},
};
static_assert(fsm::IsDeterministic(kRunEdges));
static_assert(fsm::HasNoExit(kRunEdges, api::v1::RUN_STATUS_TERMINATED));
static_assert(fsm::AllReachable(kRunEdges, api::v1::RUN_STATUS_SUBMITTED));
static_assert(fsm::AlwaysCanReach(kRunEdges, api::v1::RUN_STATUS_TERMINATED));

// True if the run may go there in one write; the three final states are one node of the table.
inline bool CanBecome(RunStatus from, RunStatus to) {
  if (from == to) return true;
  return !IsFinal(from) &&
         fsm::IsReachable(kRunEdges, from, IsFinal(to) ? api::v1::RUN_STATUS_TERMINATED : to);
}

}  // namespace dstack::server
