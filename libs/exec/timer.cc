#include "libs/exec/timer.h"

#include <utility>

#include "libs/exec/thread_pool.h"

namespace dstack::exec {

TimerQueue::TimerQueue()
    : thread_([this] {
        SetThreadName("timers");
        Work();
      }) {}

TimerQueue::~TimerQueue() {
  {
    base::MutexLock lock(mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  thread_.join();
}

TimerHandle TimerQueue::PostAfter(Executor& executor, base::Duration delay, Task task) {
  return CallAfter(delay, [&executor, task = std::move(task)] { executor.Post(task); });
}

TimerHandle TimerQueue::CallAfter(base::Duration delay, Task task) {
  TimerHandle handle = TimerHandle::Make();
  base::MutexLock lock(mutex_);
  const auto added = entries_.emplace(base::DeadlineIn(delay), Entry{handle, std::move(task)});
  if (added == entries_.begin()) changed_.NotifyOne();
  return handle;
}

std::size_t TimerQueue::size() const {
  base::MutexLock lock(mutex_);
  return entries_.size();
}

void TimerQueue::Work() {
  while (true) {
    Entry due;
    {
      base::MutexLock lock(mutex_);
      while (!stopping_ &&
             (entries_.empty() || entries_.begin()->first > std::chrono::steady_clock::now())) {
        if (entries_.empty()) {
          changed_.Wait(mutex_);
        } else {
          changed_.WaitUntil(mutex_, entries_.begin()->first);
        }
      }
      if (stopping_) return;
      due = std::move(entries_.begin()->second);
      entries_.erase(entries_.begin());
    }
    if (due.handle.TryFire()) due.task();
  }
}

}  // namespace dstack::exec
