#include "libs/testing/manual_clock.h"

namespace dstack::testing {

using std::chrono::duration_cast;

ManualClock::ManualClock()
    : wall_(std::chrono::sys_days(std::chrono::year(2026) / 1 / 1)),
      monotonic_(std::chrono::hours(1)) {}

base::WallTime ManualClock::Now() const {
  std::lock_guard lock(mutex_);
  return wall_;
}

base::MonotonicTime ManualClock::MonotonicNow() const {
  std::lock_guard lock(mutex_);
  return monotonic_;
}

void ManualClock::Advance(base::Duration by) {
  std::lock_guard lock(mutex_);
  wall_ += duration_cast<base::WallTime::duration>(by);
  monotonic_ += duration_cast<base::MonotonicTime::duration>(by);
}

void ManualClock::JumpWallTime(base::Duration by) {
  std::lock_guard lock(mutex_);
  wall_ += duration_cast<base::WallTime::duration>(by);
}

}  // namespace dstack::testing
