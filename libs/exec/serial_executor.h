#pragma once

#include <memory>

#include "libs/exec/executor.h"
#include "libs/exec/timer.h"

namespace dstack::exec {

// Runs its tasks one after the other, in the order of posting, on the threads of a pool. State that
// only its tasks touch needs no lock. Post* are thread-safe.
//
// Destruction drains: tasks posted before it run to their end, delayed tasks that are not yet due
// are dropped, and later posts are dropped. It must not happen inside one of its own tasks. A task
// may therefore capture `this` of the executor's owner, when the executor is its last member.
class SerialExecutor final : public TimedExecutor {
 public:
  // Both outlive this object.
  SerialExecutor(Executor& pool, TimerQueue& timers);
  ~SerialExecutor() override;
  SerialExecutor(const SerialExecutor&) = delete;
  SerialExecutor& operator=(const SerialExecutor&) = delete;

  void Post(Task task) override;
  TimerHandle PostAfter(base::Duration delay, Task task) override;

  // Waits until everything posted before the call has run. Not from one of its own tasks.
  void Drain();

  // True on the thread that runs one of its tasks right now.
  bool IsCurrent() const;

 private:
  class Core;
  // Shared with timers and with the pool, which may let go later than the owner.
  std::shared_ptr<Core> core_;
  TimerQueue& timers_;
};

}  // namespace dstack::exec
