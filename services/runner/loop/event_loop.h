#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "libs/base/clock.h"
#include "libs/base/file.h"
#include "libs/base/mutex.h"

namespace dstack::runner {

// One thread that waits for descriptors, timers and tasks posted by other threads. Everything that
// the supervisor and the serving core own is touched only on such a thread, so none of it has
// locks.
//
// Only Post and Stop may be called from other threads.
class EventLoop {
 public:
  using Task = std::function<void()>;
  using TimerId = std::uint64_t;
  static constexpr TimerId kNoTimer = 0;

  EventLoop();
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // Calls `handler(epoll events)` whenever one of `events` is there (level-triggered). Watching a
  // descriptor again replaces events and handler. The caller keeps the descriptor open until it
  // called Unwatch.
  void Watch(int fd, std::uint32_t events, std::function<void(std::uint32_t)> handler);
  // Does nothing for a descriptor that is not watched.
  void Unwatch(int fd);

  // Runs `task` once after `delay`.
  TimerId After(std::chrono::nanoseconds delay, Task task);
  // Does nothing for a timer that ran, was cancelled, or is kNoTimer. Sets *id to kNoTimer.
  void Cancel(TimerId* id);

  // Runs `task` on the loop's thread, in the order of the posts. False once Run has ended; the task
  // is dropped then.
  bool Post(Task task);

  // Runs until Stop; tasks posted before that still run.
  void Run();
  void Stop();

 private:
  using Handler = std::shared_ptr<std::function<void(std::uint32_t)>>;

  int WaitMilliseconds() const;
  void RunDueTimers();
  void RunPosted();
  std::vector<Task> TakePosted();

  base::UniqueFd epoll_;
  base::UniqueFd wake_;
  std::unordered_map<int, Handler> handlers_;
  std::map<std::pair<base::MonotonicTime, TimerId>, Task> timers_;
  std::unordered_map<TimerId, base::MonotonicTime> due_;
  TimerId next_timer_ = 1;

  base::Mutex mutex_;
  std::vector<Task> posted_ GUARDED_BY(mutex_);
  bool is_stopping_ GUARDED_BY(mutex_) = false;
  bool is_closed_ GUARDED_BY(mutex_) = false;
};

}  // namespace dstack::runner
