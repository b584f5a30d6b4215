#include "clients/cli/follow/reconnect.h"

#include <algorithm>
#include <utility>

#include "clients/cli/session/connection.h"

namespace dstack::cli {
namespace {

// How late a stop may be noticed.
constexpr std::chrono::milliseconds kConnectSlice{100};

}  // namespace

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
  const auto pause = std::chrono::duration_cast<std::chrono::milliseconds>(backoff_.Next());
  if (!Pause(pause, stopper)) return absl::CancelledError("stopped");
  return absl::OkStatus();
}

bool Reconnect::Pause(std::chrono::milliseconds pause, Stopper& stopper) const {
  using std::chrono::milliseconds;
  // A server that is connected and fails gets the whole pause.
  if (!listener_.wait_until_connected || listener_.wait_until_connected(milliseconds(0))) {
    return stopper.Wait(pause);
  }
  for (milliseconds left = pause; left > milliseconds(0); left -= kConnectSlice) {
    if (stopper.is_stopped()) return false;
    if (listener_.wait_until_connected(std::min(left, kConnectSlice))) break;
  }
  return !stopper.is_stopped();
}

}  // namespace dstack::cli
