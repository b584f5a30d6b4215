#pragma once

#include <utility>

#include "libs/base/mutex.h"
#include "libs/exec/executor.h"

namespace dstack::server {

// The way into an executor for callbacks that may outlive it: what is posted after Close() is
// dropped. Held by shared_ptr. Thread-safe.
class Mailbox final : public exec::Executor {
 public:
  explicit Mailbox(exec::Executor& executor) : executor_(&executor) {}

  void Post(exec::Task task) override {
    base::MutexLock lock(mutex_);
    if (executor_ != nullptr) executor_->Post(std::move(task));
  }

  void Close() {
    base::MutexLock lock(mutex_);
    executor_ = nullptr;
  }

 private:
  base::Mutex mutex_;
  exec::Executor* executor_ GUARDED_BY(mutex_);
};

}  // namespace dstack::server
