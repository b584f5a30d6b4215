#pragma once

#include <atomic>
#include <functional>
#include <memory>

#include "libs/base/clock.h"

namespace dstack::exec {

// A unit of work. It must not throw.
using Task = std::function<void()>;

// Runs tasks somewhere else. Thread-safe.
class Executor {
 public:
  virtual ~Executor() = default;
  // Never blocks on the task. Tasks posted after the executor began to end are dropped.
  virtual void Post(Task task) = 0;
};

// A delayed task that can be called off. Copies refer to the same task. Thread-safe. Dropping the
// handle does not cancel.
class TimerHandle {
 public:
  TimerHandle() = default;

  // True when the task will not run because of this call; false when it runs, ran or was cancelled.
  bool Cancel() {
    int expected = kWaiting;
    return state_ && state_->compare_exchange_strong(expected, kCancelled);
  }
  bool cancelled() const { return state_ && state_->load() == kCancelled; }

  // For executors: a handle that waits, and the right to run its task, given once.
  static TimerHandle Make() {
    TimerHandle handle;
    handle.state_ = std::make_shared<std::atomic<int>>(kWaiting);
    return handle;
  }
  bool TryFire() {
    int expected = kWaiting;
    return state_ && state_->compare_exchange_strong(expected, kFired);
  }

 private:
  enum State { kWaiting, kFired, kCancelled };
  std::shared_ptr<std::atomic<int>> state_;
};

// An executor that also runs tasks later. Thread-safe.
class TimedExecutor : public Executor {
 public:
  // Runs `task` like Post() once `delay` has passed. Cancel through the handle; when the executor
  // is serial and Cancel() is called from one of its tasks, a false answer means the task has run.
  virtual TimerHandle PostAfter(base::Duration delay, Task task) = 0;
};

}  // namespace dstack::exec
