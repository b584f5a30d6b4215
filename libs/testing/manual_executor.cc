#include "libs/testing/manual_executor.h"

#include <algorithm>
#include <utility>

namespace dstack::testing {

void ManualExecutor::Post(exec::Task task) {
  std::lock_guard lock(mutex_);
  ready_.push_back(std::move(task));
}

exec::TimerHandle ManualExecutor::PostAfter(base::Duration delay, exec::Task task) {
  exec::TimerHandle handle = exec::TimerHandle::Make();
  std::lock_guard lock(mutex_);
  timers_.emplace(base::DeadlineAfter(clock_.MonotonicNow(), delay),
                  Timer{handle, std::move(task)});
  return handle;
}

exec::Task ManualExecutor::TakeReady() {
  std::lock_guard lock(mutex_);
  while (!timers_.empty() && timers_.begin()->first <= clock_.MonotonicNow()) {
    Timer timer = std::move(timers_.begin()->second);
    timers_.erase(timers_.begin());
    if (timer.handle.TryFire()) ready_.push_back(std::move(timer.task));
  }
  if (ready_.empty()) return nullptr;
  exec::Task task = std::move(ready_.front());
  ready_.pop_front();
  return task;
}

std::size_t ManualExecutor::RunReady() {
  std::size_t count = 0;
  while (exec::Task task = TakeReady()) {
    task();
    ++count;
  }
  return count;
}

std::size_t ManualExecutor::AdvanceBy(base::Duration by) {
  const base::MonotonicTime end = base::DeadlineAfter(clock_.MonotonicNow(), by);
  std::size_t count = RunReady();
  while (clock_.MonotonicNow() < end) {
    base::MonotonicTime next = end;
    {
      std::lock_guard lock(mutex_);
      if (!timers_.empty()) next = std::min(end, timers_.begin()->first);
    }
    clock_.Advance(next - clock_.MonotonicNow());
    count += RunReady();
  }
  return count;
}

std::size_t ManualExecutor::pending() const {
  std::lock_guard lock(mutex_);
  const auto waiting = std::count_if(timers_.begin(), timers_.end(), [](const auto& entry) {
    return !entry.second.handle.cancelled();
  });
  return ready_.size() + static_cast<std::size_t>(waiting);
}

}  // namespace dstack::testing
