#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <thread>

#include "libs/base/mutex.h"

namespace dstack::server {

// One named thread that does a piece of work whenever it is woken, and every `interval` besides, in
// case a wake-up was lost. Wake-ups that arrive while the work runs lead to exactly one more turn.
// Thread-safe.
class WakeLoop {
 public:
  // `work` returns true to be called again at once (it left something to do).
  WakeLoop(std::string name, std::chrono::milliseconds interval, std::function<bool()> work);
  // Ends the thread after the present turn.
  ~WakeLoop();
  WakeLoop(const WakeLoop&) = delete;
  WakeLoop& operator=(const WakeLoop&) = delete;

  void Wake();

 private:
  void Run();
  // False: stop.
  bool WaitForTurn() EXCLUDES(mutex_);

  const std::string name_;
  const std::chrono::milliseconds interval_;
  const std::function<bool()> work_;
  base::Mutex mutex_;
  base::CondVar changed_;
  bool is_woken_ GUARDED_BY(mutex_) = true;  // the first turn comes at once
  bool is_stopping_ GUARDED_BY(mutex_) = false;
  std::jthread thread_;
};

}  // namespace dstack::server
