#include "clients/cli/follow/reconnect.h"

#include <utility>

#include "clients/cli/session/connection.h"

namespace dstack::cli {

Reconnect::Reconnect(const ReconnectPolicy& policy,
                     ReconnectListener listener,
                     const base::Clock& clock,
                     base::Random& random)
    : policy_(policy),
      listener_(std::move(listener)),
      clock_(clock),
      backoff_(policy.backoff, random) {}

void Reconnect::Succeeded() {
  if (!is_failing_) return;
  is_failing_ = false;
  backoff_.Reset();
  if (std::exchange(is_announced_, false) && listener_.on_restored) listener_.on_restored();
}

absl::Status Reconnect::WaitAfter(const absl::Status& status, Stopper& stopper) {
  if (stopper.is_stopped()) return absl::CancelledError("stopped");
  if (!IsConnectionLoss(status)) return status;
  const base::MonotonicTime now = clock_.MonotonicNow();
  if (!std::exchange(is_failing_, true)) failing_since_ = now;
  const auto failing_for = now - failing_since_;
  if (failing_for >= policy_.give_up_after) return status;
  if (failing_for >= policy_.quiet_for && !std::exchange(is_announced_, true)) {
    if (listener_.on_lost) listener_.on_lost(status);
  }
  if (!stopper.Wait(backoff_.Next())) return absl::CancelledError("stopped");
  return absl::OkStatus();
}

}  // namespace dstack::cli
