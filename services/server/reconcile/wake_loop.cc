#include "services/server/reconcile/wake_loop.h"

#include <utility>

#include <pthread.h>

namespace dstack::server {

WakeLoop::WakeLoop(std::string name, std::chrono::milliseconds interval, std::function<bool()> work)
    : name_(std::move(name)),
      interval_(interval),
      work_(std::move(work)),
      thread_([this] { Run(); }) {}

WakeLoop::~WakeLoop() {
  base::MutexLock lock(mutex_);
  is_stopping_ = true;
  changed_.NotifyAll();
}

void WakeLoop::Wake() {
  base::MutexLock lock(mutex_);
  is_woken_ = true;
  changed_.NotifyOne();
}

void WakeLoop::Run() {
  pthread_setname_np(pthread_self(), name_.substr(0, 15).c_str());
  while (WaitForTurn()) {
    if (work_()) Wake();
  }
}

bool WakeLoop::WaitForTurn() {
  base::MutexLock lock(mutex_);
  const auto deadline = std::chrono::steady_clock::now() + interval_;
  while (!is_woken_ && !is_stopping_) {
    if (!changed_.WaitUntil(mutex_, deadline)) break;
  }
  is_woken_ = false;
  return !is_stopping_;
}

}  // namespace dstack::server
