#pragma once

#include <deque>
#include <functional>
#include <map>
#include <mutex>

#include "libs/exec/executor.h"
#include "libs/testing/manual_clock.h"

namespace dstack::testing {

// An executor that runs tasks when the test says so, on the test's thread. Delayed tasks become due
// as its clock moves. Post* may be called from any thread; Run* from one.
class ManualExecutor final : public exec::TimedExecutor {
 public:
  // `clock` outlives this object.
  explicit ManualExecutor(ManualClock& clock) : clock_(clock) {}

  void Post(exec::Task task) override;
  exec::TimerHandle PostAfter(base::Duration delay, exec::Task task) override;

  // Runs what is due, and what that posts, until nothing is. Returns how many tasks ran.
  std::size_t RunReady();
  // Moves the clock from timer to timer up to `by`, running everything on the way.
  std::size_t AdvanceBy(base::Duration by);
  // Tasks that are due or waiting for their time, cancelled ones not counted.
  std::size_t pending() const;

 private:
  struct Timer {
    exec::TimerHandle handle;
    exec::Task task;
  };

  // Next due task, or null.
  exec::Task TakeReady();

  ManualClock& clock_;
  mutable std::mutex mutex_;
  std::deque<exec::Task> ready_;
  std::multimap<base::MonotonicTime, Timer> timers_;
};

}  // namespace dstack::testing
