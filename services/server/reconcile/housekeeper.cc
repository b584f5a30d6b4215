#include "services/server/reconcile/housekeeper.h"

#include <chrono>

#include "libs/telemetry/log.h"

namespace dstack::server {
namespace {

using namespace std::chrono_literals;

// How often the replicas look whose turn it is, and how often there is one.
constexpr auto kLook = 1min;
constexpr auto kInterval = 5min;
// Small transactions: nobody waits long for what they lock.
constexpr std::size_t kBatch = 1'000;

}  // namespace

Housekeeper::Housekeeper(RetentionStore& store,
                         const Retention& retention,
                         const base::Clock& clock)
    : store_(store),
      retention_(retention),
      clock_(clock),
      loop_("housekeeper", kLook, [this] { return Turn(); }) {}

bool Housekeeper::Turn() {
  if (!has_turn_) {
    const auto claimed = store_.ClaimTurn(kInterval);
    if (!claimed.ok() || !*claimed) return false;
    has_turn_ = true;
  }
  const auto deleted = store_.DeleteSome(retention_, kBatch, clock_.Now());
  if (!deleted.ok()) telemetry::Warn("old data cannot be deleted", {{"error", deleted.status()}});
  has_turn_ = deleted.ok() && *deleted > 0;
  return has_turn_;
}

}  // namespace dstack::server
