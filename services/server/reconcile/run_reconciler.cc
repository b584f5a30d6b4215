#include "services/server/reconcile/run_reconciler.h"

#include <chrono>

#include "libs/telemetry/log.h"

namespace dstack::server {
namespace {

using namespace std::chrono_literals;

// Also the precision of next_wakeup_at: nobody is told when a time comes.
constexpr auto kSweepInterval = 1s;
constexpr std::size_t kBatch = 64;
// A replica that dies with claimed runs holds them up for this long.
constexpr auto kClaimLease = 10s;

}  // namespace

RunReconciler::RunReconciler(RunStore& runs, Notifications& notifications, const base::Clock& clock)
    : runs_(runs),
      clock_(clock),
      loop_("run-reconciler", kSweepInterval, [this] { return Turn(); }),
      subscription_(notifications.Subscribe(channel::kWork, [this](const std::string& payload) {
        if (payload != "jobs") loop_.Wake();
      })) {}

bool RunReconciler::Turn() {
  const auto due = runs_.ClaimDue(kBatch, kClaimLease);
  if (!due.ok()) {
    telemetry::Warn("due runs could not be claimed", {{"error", due.status().ToString()}});
    return false;
  }
  for (const RunId& id : *due) {
    const absl::Status status = runs_.Evaluate(id, clock_.Now());
    if (!status.ok())
      telemetry::Warn("run could not be evaluated",
                      {{"run_id", id.str()}, {"error", status.ToString()}});
  }
  return due->size() == kBatch;
}

}  // namespace dstack::server
