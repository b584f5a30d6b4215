#pragma once

#include <functional>
#include <map>
#include <thread>
#include <vector>

#include "libs/base/file.h"
#include "libs/base/mutex.h"
#include "services/shim/adapters/process_identity.h"

namespace dstack::shim {

// Waits for the end of any number of processes, children or not, on one thread. Thread-safe.
class ExitWatcher {
 public:
  // True: it has ended. False: the watcher is closing.
  using Callback = std::function<void(bool has_ended)>;

  ExitWatcher();
  // Calls the callbacks that are left.
  ~ExitWatcher();
  ExitWatcher(const ExitWatcher&) = delete;
  ExitWatcher& operator=(const ExitWatcher&) = delete;

  // Calls back once, on the watcher's thread; must not block. Does not reap.
  void Watch(const ProcessIdentity& identity, Callback callback);

 private:
  struct Entry {
    base::UniqueFd fd;
    Callback callback;
  };

  void Run(const std::stop_token& stop);
  // Moves the new entries over to the thread's own.
  void TakeIncoming(std::vector<Entry>* entries);
  void Wake();

  base::UniqueFd wake_fd_;
  base::Mutex mutex_;
  std::vector<Entry> incoming_ GUARDED_BY(mutex_);
  std::jthread thread_;
};

}  // namespace dstack::shim
