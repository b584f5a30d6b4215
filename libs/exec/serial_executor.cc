#include "libs/exec/serial_executor.h"

#include <deque>
#include <thread>
#include <utility>

#include "libs/base/mutex.h"

namespace dstack::exec {

class SerialExecutor::Core : public std::enable_shared_from_this<SerialExecutor::Core> {
 public:
  explicit Core(Executor& pool) : pool_(pool) {}

  // With a handle the task runs only if nobody cancelled it before its turn came, so that a task of
  // the same executor can cancel a timer that is due already.
  void Post(Task task, TimerHandle* handle) {
    base::MutexLock lock(mutex_);
    if (closed_) return;
    tasks_.push_back(handle == nullptr ? std::move(task)
                                       : Task([timer = *handle, run = std::move(task)]() mutable {
                                           if (timer.TryFire()) run();
                                         }));
    if (scheduled_) return;
    scheduled_ = true;
    Schedule();
  }

  // Runs what is there, then refuses everything.
  void Close() {
    base::MutexLock lock(mutex_);
    closed_ = true;
    while (scheduled_) idle_.Wait(mutex_);
  }

  bool IsCurrent() const {
    base::MutexLock lock(mutex_);
    return runner_ == std::this_thread::get_id();
  }

 private:
  // One task per visit to the pool, so that many strands share it fairly.
  void Schedule() {
    pool_.Post([self = shared_from_this()] { self->RunOne(); });
  }

  void RunOne() {
    Task task;
    {
      base::MutexLock lock(mutex_);
      task = std::move(tasks_.front());
      tasks_.pop_front();
      runner_ = std::this_thread::get_id();
    }
    task();
    // What the task holds is released before the strand counts as idle.
    task = nullptr;
    base::MutexLock lock(mutex_);
    runner_ = {};
    if (!tasks_.empty()) {
      Schedule();
      return;
    }
    scheduled_ = false;
    idle_.NotifyAll();
  }

  Executor& pool_;
  mutable base::Mutex mutex_;
  base::CondVar idle_;
  std::deque<Task> tasks_ GUARDED_BY(mutex_);
  bool scheduled_ GUARDED_BY(mutex_) = false;
  bool closed_ GUARDED_BY(mutex_) = false;
  std::thread::id runner_ GUARDED_BY(mutex_);
};

SerialExecutor::SerialExecutor(Executor& pool, TimerQueue& timers)
    : core_(std::make_shared<Core>(pool)), timers_(timers) {}

SerialExecutor::~SerialExecutor() { core_->Close(); }

void SerialExecutor::Post(Task task) { core_->Post(std::move(task), nullptr); }

TimerHandle SerialExecutor::PostAfter(base::Duration delay, Task task) {
  TimerHandle handle = TimerHandle::Make();
  // The timer's own handle is not the caller's: that one is decided when the task's turn comes.
  timers_.CallAfter(delay,
                    [core = std::weak_ptr<Core>(core_), handle, task = std::move(task)]() mutable {
                      if (handle.cancelled()) return;
                      if (auto alive = core.lock()) alive->Post(std::move(task), &handle);
                    });
  return handle;
}

void SerialExecutor::Drain() {
  base::Mutex mutex;
  base::CondVar changed;
  bool reached = false;
  Post([&] {
    base::MutexLock lock(mutex);
    reached = true;
    changed.NotifyAll();
  });
  base::MutexLock lock(mutex);
  while (!reached) changed.Wait(mutex);
}

bool SerialExecutor::IsCurrent() const { return core_->IsCurrent(); }

}  // namespace dstack::exec
