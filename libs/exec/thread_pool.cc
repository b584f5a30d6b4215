#include "libs/exec/thread_pool.h"

#include <system_error>
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

ThreadPool::ThreadPool(std::string name, std::size_t max_threads)
    : name_(std::move(name)), max_threads_(max_threads) {
  base::MutexLock lock(mutex_);
  StartThread();
}

ThreadPool::~ThreadPool() { Shutdown(); }

void ThreadPool::StartThread() {
  threads_.emplace_back([this, thread_name = IndexedName(name_, threads_.size())] {
    SetThreadName(thread_name);
    Work();
  });
}

void ThreadPool::Post(Task task) {
  base::MutexLock lock(mutex_);
  if (stopping_) return;
  tasks_.push_back(std::move(task));
  changed_.NotifyOne();
  // An idle thread that was woken for an earlier task counts as idle until it has taken it.
  if (tasks_.size() <= idle_ || threads_.size() >= max_threads_) return;
  try {
    StartThread();
  } catch (const std::system_error&) {
    // The host gives no more threads now; the task waits for one of those that are there.
  }
}

void ThreadPool::Shutdown() {
  std::vector<std::jthread> threads;
  {
    base::MutexLock lock(mutex_);
    stopping_ = true;
    changed_.NotifyAll();
    threads.swap(threads_);
  }
  threads.clear();
}

std::size_t ThreadPool::queued() const {
  base::MutexLock lock(mutex_);
  return tasks_.size();
}

std::size_t ThreadPool::threads() const {
  base::MutexLock lock(mutex_);
  return threads_.size();
}

void ThreadPool::Work() {
  while (true) {
    Task task;
    {
      base::MutexLock lock(mutex_);
      ++idle_;
      while (tasks_.empty() && !stopping_) changed_.Wait(mutex_);
      --idle_;
      if (tasks_.empty()) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    task();
  }
}

}  // namespace dstack::exec
