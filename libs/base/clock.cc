#include "libs/base/clock.h"

namespace dstack::base {

WallTime RealClock::Now() const { return std::chrono::system_clock::now(); }

MonotonicTime RealClock::MonotonicNow() const { return std::chrono::steady_clock::now(); }

MonotonicTime DeadlineAfter(MonotonicTime now, Duration timeout) {
  if (now >= kNoDeadline || timeout >= kNoDeadline - now) return kNoDeadline;
  return now + timeout;
}

MonotonicTime DeadlineIn(Duration timeout) {
  return DeadlineAfter(std::chrono::steady_clock::now(), timeout);
}

}  // namespace dstack::base
