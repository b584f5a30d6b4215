#pragma once

#include <cstddef>
#include <deque>
#include <string>
#include <thread>
#include <vector>

#include "libs/base/mutex.h"
#include "libs/exec/executor.h"

namespace dstack::exec {

// Up to a fixed number of named threads that take tasks in order. Tasks may block; how many may do
// so at once is the number of threads. One is there from the start; another one is started when a
// task finds none idle, and stays. Thread-safe.
class ThreadPool final : public Executor {
 public:
  // `name` shows in debuggers and /proc (the kernel keeps 15 bytes, the last ones are the index).
  // `max_threads` is at least 1.
  ThreadPool(std::string name, std::size_t max_threads);
  // Drains: runs everything that was posted, then joins. Not from one of its own tasks.
  ~ThreadPool() override;
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  void Post(Task task) override;

  // Runs everything posted so far and joins the threads; later posts are dropped. Idempotent.
  void Shutdown();

  // Tasks that wait for a thread, for metrics.
  std::size_t queued() const;
  // Threads that were started.
  std::size_t threads() const;

 private:
  void StartThread() REQUIRES(mutex_);
  void Work();

  const std::string name_;
  const std::size_t max_threads_;
  mutable base::Mutex mutex_;
  base::CondVar changed_;
  std::deque<Task> tasks_ GUARDED_BY(mutex_);
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::size_t idle_ GUARDED_BY(mutex_) = 0;
  std::vector<std::jthread> threads_ GUARDED_BY(mutex_);
};

// Gives the calling thread a name of at most 15 bytes.
void SetThreadName(const std::string& name);

}  // namespace dstack::exec
