#pragma once

#include <string>
#include <vector>

#include "services/server/domain/job/job.h"
#include "services/server/ports/job_store.h"

namespace dstack::server {

// What the scheduler decides about waiting jobs.
struct SchedulerDecision {
  std::vector<Assignment> assignments;
  struct Failure {
    JobId job_id;
    JobTerminationReason reason;
    std::string message;
  };
  std::vector<Failure> failures;
};

// Gives hosts to waiting jobs: priority first, then age; blocks taken by one assignment are gone
// for the next. A run stays in the fleet that it is bound to. A job that no present host could ever
// take fails with no capacity; one that fits a host in use, or one that is still being set up,
// waits. Pure.
SchedulerDecision Schedule(const SchedulerSnapshot& snapshot);

}  // namespace dstack::server
