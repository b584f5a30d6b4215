#pragma once

#include <mutex>

#include "libs/base/clock.h"

namespace dstack::testing {

// A clock that moves only when told. Both times move together. Thread-safe.
class ManualClock final : public base::Clock {
 public:
  // Starts at 2026-01-01T00:00:00Z.
  ManualClock();

  base::WallTime Now() const override;
  base::MonotonicTime MonotonicNow() const override;

  void Advance(base::Duration by);
  // Moves wall time alone, as an administrator or NTP does.
  void JumpWallTime(base::Duration by);

 private:
  mutable std::mutex mutex_;
  base::WallTime wall_;
  base::MonotonicTime monotonic_;
};

}  // namespace dstack::testing
