#pragma once

#include <chrono>

namespace dstack::base {

// Wall-clock time, for timestamps that people and other machines see.
using WallTime = std::chrono::system_clock::time_point;
// Time that never jumps, for deadlines and intervals inside a process.
using MonotonicTime = std::chrono::steady_clock::time_point;
using Duration = std::chrono::nanoseconds;

// Source of time. Code that decides by time takes one of these. Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual WallTime Now() const = 0;
  virtual MonotonicTime MonotonicNow() const = 0;
};

class RealClock final : public Clock {
 public:
  WallTime Now() const override;
  MonotonicTime MonotonicNow() const override;
};

// A deadline that does not come: still small enough to be added to.
inline constexpr MonotonicTime kNoDeadline = MonotonicTime::max() - std::chrono::hours(24 * 365);

// now + timeout without overflow.
MonotonicTime DeadlineAfter(MonotonicTime now, Duration timeout);

// Shorthand on the real clock, for waits at the edge of the program.
MonotonicTime DeadlineIn(Duration timeout);

}  // namespace dstack::base
