#pragma once

#include <map>
#include <thread>

#include "libs/base/mutex.h"
#include "libs/exec/executor.h"

namespace dstack::exec {

// One thread that hands delayed tasks to executors when they are due. Many executors share one.
// Thread-safe. Real time only: tests with manual time use testing::ManualExecutor.
class TimerQueue {
 public:
  TimerQueue();
  // Drops what is not due. Executors given to PostAfter() outlive this object or cancel before.
  ~TimerQueue();
  TimerQueue(const TimerQueue&) = delete;
  TimerQueue& operator=(const TimerQueue&) = delete;

  // Posts `task` to `executor` after `delay`.
  TimerHandle PostAfter(Executor& executor, base::Duration delay, Task task);

  // As above, but run on the timer's own thread: for tasks that only post or set a flag.
  TimerHandle CallAfter(base::Duration delay, Task task);

  // Timers that wait, cancelled ones included until their time comes.
  std::size_t size() const;

 private:
  struct Entry {
    TimerHandle handle;
    Task task;
  };

  void Work();

  mutable base::Mutex mutex_;
  base::CondVar changed_;
  std::multimap<base::MonotonicTime, Entry> entries_ GUARDED_BY(mutex_);
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::jthread thread_;
};

}  // namespace dstack::exec
