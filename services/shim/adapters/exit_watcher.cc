#include "services/shim/adapters/exit_watcher.h"

#include <cerrno>
#include <iterator>
#include <utility>

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "libs/exec/thread_pool.h"

namespace dstack::shim {

ExitWatcher::ExitWatcher() : wake_fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  thread_ = std::jthread([this](const std::stop_token& stop) { Run(stop); });
}

ExitWatcher::~ExitWatcher() {
  thread_.request_stop();
  Wake();
  thread_.join();
}

void ExitWatcher::Watch(const ProcessIdentity& identity, Callback callback) {
  {
    base::MutexLock lock(mutex_);
    incoming_.push_back({.fd = OpenPidFd(identity), .callback = std::move(callback)});
  }
  Wake();
}

void ExitWatcher::Wake() {
  const std::uint64_t one = 1;
  // Fails only when the counter is full, and then the thread is awake anyway.
  static_cast<void>(::write(wake_fd_.get(), &one, sizeof(one)) == 0);
}

void ExitWatcher::TakeIncoming(std::vector<Entry>* entries) {
  std::uint64_t count = 0;
  static_cast<void>(::read(wake_fd_.get(), &count, sizeof(count)) == 0);
  std::vector<Entry> incoming;
  {
    base::MutexLock lock(mutex_);
    incoming.swap(incoming_);
  }
  for (Entry& entry : incoming) {
    // Without a descriptor it had ended before the watch.
    if (entry.fd) {
      entries->push_back(std::move(entry));
    } else {
      entry.callback(true);
    }
  }
}

void ExitWatcher::Run(const std::stop_token& stop) {
  exec::SetThreadName("exit-watcher");
  std::vector<Entry> entries;
  std::vector<pollfd> polled;
  while (true) {
    TakeIncoming(&entries);
    if (stop.stop_requested()) break;
    polled.assign(1, {.fd = wake_fd_.get(), .events = POLLIN});
    for (const Entry& entry : entries) polled.push_back({.fd = entry.fd.get(), .events = POLLIN});
    if (::poll(polled.data(), polled.size(), -1) < 0 && errno != EINTR) continue;
    std::vector<Entry> alive;
    for (std::size_t i = 0; i < entries.size(); ++i) {
      if (polled[i + 1].revents != 0) {
        entries[i].callback(true);
      } else {
        alive.push_back(std::move(entries[i]));
      }
    }
    entries.swap(alive);
  }
  for (const Entry& entry : entries) entry.callback(false);
}

}  // namespace dstack::shim
