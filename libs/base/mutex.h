#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

// Abseil's headers define GUARDED_BY, PT_GUARDED_BY and NO_THREAD_SAFETY_ANALYSIS as macros too.
#include <absl/base/thread_annotations.h>

// Names of Clang's thread-safety analysis; nothing for other compilers.
#if defined(__clang__)
#define DSTACK_TS(x) __attribute__((x))
#else
#define DSTACK_TS(x)
#endif

#define REQUIRES(...) DSTACK_TS(requires_capability(__VA_ARGS__))
#define EXCLUDES(...) DSTACK_TS(locks_excluded(__VA_ARGS__))
#define ACQUIRE(...) DSTACK_TS(acquire_capability(__VA_ARGS__))
#define RELEASE(...) DSTACK_TS(release_capability(__VA_ARGS__))

namespace dstack::base {

// A std::mutex that Clang's analysis and ThreadSanitizer understand. Guards plain data for a few
// lines; never held across I/O or a callback.
class DSTACK_TS(capability("mutex")) Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void Lock() ACQUIRE() { mutex_.lock(); }
  void Unlock() RELEASE() { mutex_.unlock(); }

 private:
  friend class CondVar;
  std::mutex mutex_;
};

class DSTACK_TS(scoped_lockable) MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) ACQUIRE(mutex) : mutex_(mutex) { mutex_.Lock(); }
  ~MutexLock() RELEASE() { mutex_.Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

// Condition variable for Mutex. Predicates are checked in a loop by the caller:
//   while (!ready_) if (!changed_.WaitUntil(mutex_, deadline)) return DeadlineExceeded;
class CondVar {
 public:
  // Wakes up spuriously, as all condition variables do.
  void Wait(Mutex& mutex) REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    condition_.wait(lock);
    lock.release();
  }

  // False when the deadline has passed.
  bool WaitUntil(Mutex& mutex, std::chrono::steady_clock::time_point deadline) REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    const bool woken = condition_.wait_until(lock, deadline) == std::cv_status::no_timeout;
    lock.release();
    return woken;
  }

  bool WaitFor(Mutex& mutex, std::chrono::nanoseconds timeout) REQUIRES(mutex) {
    return WaitUntil(mutex, std::chrono::steady_clock::now() + timeout);
  }

  void NotifyOne() { condition_.notify_one(); }
  void NotifyAll() { condition_.notify_all(); }

 private:
  std::condition_variable condition_;
};

}  // namespace dstack::base
