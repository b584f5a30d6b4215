#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string_view>
#include <thread>

#include <absl/status/status.h>

#include "libs/base/file.h"
#include "libs/base/mutex.h"

namespace dstack::ssh {

// One thread that reads the output of any number of child processes, so that none of them ever
// waits for room in a pipe and their end is noticed at once. Thread-safe.
class PipeWatcher {
 public:
  // `data` is what was read; `is_end` says that nothing will follow. Runs on the watcher's thread
  // and must return at once.
  using Callback = std::function<void(std::string_view data, bool is_end)>;

  PipeWatcher();
  ~PipeWatcher();
  PipeWatcher(const PipeWatcher&) = delete;
  PipeWatcher& operator=(const PipeWatcher&) = delete;

  // Takes the read end of a pipe. The answer names it in Remove().
  std::uint64_t Add(base::UniqueFd fd, Callback callback);
  // Closes it. Afterwards its callback does not run any more. Not from a callback.
  void Remove(std::uint64_t id);

 private:
  struct Entry {
    base::UniqueFd fd;
    Callback callback;
  };

  void Work();
  void ReadOne(std::uint64_t id);

  base::UniqueFd epoll_;
  base::UniqueFd wakeup_;
  // Held while a callback runs: that is how Remove() waits for it.
  base::Mutex mutex_;
  std::map<std::uint64_t, Entry> entries_ GUARDED_BY(mutex_);
  std::uint64_t next_id_ GUARDED_BY(mutex_) = 1;
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::jthread thread_;
};

}  // namespace dstack::ssh
