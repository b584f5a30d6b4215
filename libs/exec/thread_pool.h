#pragma once

#include <cstddef>
#include <deque>
#include <string>
#include <thread>
#include <vector>

#include "libs/base/mutex.h"
#include "libs/exec/executor.h"

namespace dstack::exec {

// A fixed number of named threads that take tasks in order. Tasks may block; how many may do so at
// once is the number of threads. Thread-safe.
class ThreadPool final : public Executor {
 public:
  // `name` shows in debuggers and /proc (the kernel keeps 15 bytes, the last ones are the index).
  ThreadPool(const std::string& name, std::size_t threads);
  // Drains: runs everything that was posted, then joins. Not from one of its own tasks.
  ~ThreadPool() override;
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  void Post(Task task) override;

  // Runs everything posted so far and joins the threads; later posts are dropped. Idempotent.
  void Shutdown();

  // Tasks that wait for a thread, for metrics.
  std::size_t queued() const;

 private:
  void Work();

  mutable base::Mutex mutex_;
  base::CondVar changed_;
  std::deque<Task> tasks_ GUARDED_BY(mutex_);
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::vector<std::jthread> threads_;
};

// Gives the calling thread a name of at most 15 bytes.
void SetThreadName(const std::string& name);

}  // namespace dstack::exec
