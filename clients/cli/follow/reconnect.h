// When a broken stream is opened again, and when it is given up.
#pragma once

#include <chrono>
#include <functional>

#include <absl/status/status.h>

#include "clients/cli/follow/stopper.h"
#include "libs/base/backoff.h"
#include "libs/base/clock.h"

namespace dstack::cli {

struct ReconnectPolicy {
  base::BackoffPolicy backoff{.initial = std::chrono::milliseconds(100),
                              .max = std::chrono::milliseconds(2000)};
  // Counted from the first failure after a success. A server may be away that long for an upgrade.
  std::chrono::milliseconds give_up_after = std::chrono::minutes(10);
  // The first failures are not worth a word: a restart of a server takes less.
  std::chrono::milliseconds quiet_for = std::chrono::milliseconds(1000);
};

// Called from the thread that waits; the first two at most once for each outage.
struct ReconnectListener {
  std::function<void(const absl::Status&)> on_lost;
  std::function<void()> on_restored;
  // Waits for the connection, no longer than told; true as soon as it is there. Absent: the whole
  // back-off is waited. Without it gRPC connects only by chance, because nobody else polls.
  std::function<bool(std::chrono::milliseconds)> wait_until_connected;
};

// One stream's view of its connection. Not thread-safe.
class Reconnect {
 public:
  // All references outlive the object.
  Reconnect(const ReconnectPolicy& policy,
            ReconnectListener listener,
            const base::Clock& clock,
            base::Random& random);

  // Something arrived: the connection works.
  void Succeeded();

  // The stream broke with `status`. OK: it was waited, open the stream again. Otherwise give up
  // with the status returned: `status` if it is no loss of connection or the time is over,
  // CANCELLED when stopped.
  absl::Status WaitAfter(const absl::Status& status, Stopper& stopper);

 private:
  // False: stopped.
  bool Pause(std::chrono::milliseconds pause, Stopper& stopper) const;

  ReconnectPolicy policy_;
  ReconnectListener listener_;
  const base::Clock& clock_;
  base::Backoff backoff_;
  bool is_failing_ = false;
  bool is_announced_ = false;
  base::MonotonicTime failing_since_;
};

}  // namespace dstack::cli
