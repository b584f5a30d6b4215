#include "services/server/reconcile/scheduler.h"

#include <chrono>

#include "libs/base/status.h"
#include "libs/telemetry/log.h"
#include "services/server/domain/offer/schedule.h"

namespace dstack::server {
namespace {

using namespace std::chrono_literals;

// Safety net for a lost notification.
constexpr auto kSweepInterval = 2s;
constexpr std::size_t kMaxJobsPerTurn = 1000;

}  // namespace

Scheduler::Scheduler(JobStore& jobs, Notifications& notifications, const base::Clock& clock)
    : jobs_(jobs),
      clock_(clock),
      loop_("scheduler", kSweepInterval, [this] { return Turn(); }),
      subscription_(notifications.Subscribe(channel::kWork, [this](const std::string& payload) {
        if (payload != "runs") loop_.Wake();
      })) {}

bool Scheduler::Turn() {
  const auto snapshot = jobs_.LoadSchedulerSnapshot(kMaxJobsPerTurn);
  if (!snapshot.ok()) {
    telemetry::Warn("waiting jobs could not be loaded", {{"error", snapshot.status().ToString()}});
    return false;
  }
  if (snapshot->jobs.empty()) return false;
  const SchedulerDecision decision = Schedule(*snapshot);
  bool has_lost_race = false;
  const auto now = clock_.Now();
  for (const Assignment& assignment : decision.assignments) {
    const absl::Status status = jobs_.Assign(assignment, now);
    if (absl::IsAborted(status)) {
      has_lost_race =
          true;  // another replica was faster, or the job was stopped: decide again on fresh data
    } else if (!status.ok()) {
      telemetry::Warn("job could not be assigned",
                      {{"job_id", assignment.job_id.str()}, {"error", status.ToString()}});
    }
  }
  for (const SchedulerDecision::Failure& failure : decision.failures) {
    const absl::Status status =
        jobs_.FailWaiting(failure.job_id, failure.reason, failure.message, now);
    if (!status.ok() && !absl::IsAborted(status)) {
      telemetry::Warn("job could not be failed",
                      {{"job_id", failure.job_id.str()}, {"error", status.ToString()}});
    }
  }
  return has_lost_race;
}

}  // namespace dstack::server
