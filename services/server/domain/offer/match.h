#pragma once

#include <string>
#include <vector>

#include "dstack/api/v1/run.pb.h"

#include "services/server/domain/instance/instance.h"
#include "services/server/domain/run/run.h"
#include "services/server/ports/job_store.h"

namespace dstack::server {

// Offers of existing hosts for a spec, best first: usable ones (IDLE) before busy ones before those
// that do not fit (with the reason: "needs 2 GPUs, 1 free"). Pure; plan and scheduler call the same
// function, so a plan never lies.
std::vector<api::v1::Offer> MatchInstances(const api::v1::RunSpec& effective_spec,
                                           const std::vector<Instance>& instances);

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
// for the next. A job that no present host could ever take fails with no capacity; one that fits a
// host in use, or one that is still being set up, waits.
SchedulerDecision Schedule(const SchedulerSnapshot& snapshot);

}  // namespace dstack::server
