#include "libs/exec/thread_pool.h"

#include <utility>

#include <fmt/format.h>
#include <pthread.h>

namespace dstack::exec {
namespace {

// PR_SET_NAME: 16 bytes with the end mark.
constexpr std::size_t kMaxThreadNameBytes = 15;

std::string IndexedName(const std::string& name, std::size_t index) {
  const std::string suffix = fmt::format("-{}", index);
  return name.substr(0, kMaxThreadNameBytes - suffix.size()) + suffix;
}

}  // namespace

void SetThreadName(const std::string& name) {
  pthread_setname_np(pthread_self(), name.substr(0, kMaxThreadNameBytes).c_str());
}

ThreadPool::ThreadPool(const std::string& name, std::size_t threads) {
  threads_.reserve(threads);
  for (std::size_t i = 0; i < threads; ++i) {
    threads_.emplace_back([this, thread_name = IndexedName(name, i)] {
      SetThreadName(thread_name);
      Work();
    });
  }
}

ThreadPool::~ThreadPool() { Shutdown(); }

void ThreadPool::Post(Task task) {
  base::MutexLock lock(mutex_);
  if (stopping_) return;
  tasks_.push_back(std::move(task));
  changed_.NotifyOne();
}

void ThreadPool::Shutdown() {
  {
    base::MutexLock lock(mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  threads_.clear();
}

std::size_t ThreadPool::queued() const {
  base::MutexLock lock(mutex_);
  return tasks_.size();
}

void ThreadPool::Work() {
  while (true) {
    Task task;
    {
      base::MutexLock lock(mutex_);
      while (tasks_.empty() && !stopping_) changed_.Wait(mutex_);
      if (tasks_.empty()) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    task();
  }
}

}  // namespace dstack::exec
