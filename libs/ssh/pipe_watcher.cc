#include "libs/ssh/pipe_watcher.h"

#include <array>
#include <cerrno>
#include <utility>

#include <fcntl.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace dstack::ssh {
namespace {

constexpr std::uint64_t kWakeup = 0;

}  // namespace

PipeWatcher::PipeWatcher()
    : epoll_(epoll_create1(EPOLL_CLOEXEC)), wakeup_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = kWakeup;
  epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wakeup_.get(), &event);
  thread_ = std::jthread([this] { Work(); });
}

PipeWatcher::~PipeWatcher() {
  {
    base::MutexLock lock(mutex_);
    stopping_ = true;
  }
  const std::uint64_t one = 1;
  static_cast<void>(!write(wakeup_.get(), &one, sizeof(one)));
}

std::uint64_t PipeWatcher::Add(base::UniqueFd fd, Callback callback) {
  fcntl(fd.get(), F_SETFL, fcntl(fd.get(), F_GETFL) | O_NONBLOCK);
  base::MutexLock lock(mutex_);
  const std::uint64_t id = next_id_++;
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = id;
  epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd.get(), &event);
  entries_.emplace(id, Entry{std::move(fd), std::move(callback)});
  return id;
}

void PipeWatcher::Remove(std::uint64_t id) {
  // The callback may hold what must not be destroyed under the lock.
  Entry removed;
  base::MutexLock lock(mutex_);
  const auto it = entries_.find(id);
  if (it == entries_.end()) return;
  removed = std::move(it->second);
  entries_.erase(it);
}

void PipeWatcher::ReadOne(std::uint64_t id) {
  std::array<char, 4096> buffer{};
  base::MutexLock lock(mutex_);
  const auto it = entries_.find(id);
  if (it == entries_.end()) return;
  const ssize_t n = read(it->second.fd.get(), buffer.data(), buffer.size());
  if (n < 0 && (errno == EINTR || errno == EAGAIN)) return;
  const bool is_end = n <= 0;
  const auto size = is_end ? std::size_t{0} : static_cast<std::size_t>(n);
  it->second.callback(std::string_view(buffer.data(), size), is_end);
  // Closing takes it out of the epoll set.
  if (is_end) entries_.erase(it);
}

void PipeWatcher::Work() {
  pthread_setname_np(pthread_self(), "ssh-pipes");
  std::array<epoll_event, 64> events{};
  while (true) {
    const int count =
        epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), /*timeout=*/-1);
    {
      base::MutexLock lock(mutex_);
      if (stopping_) return;
    }
    for (int i = 0; i < count; ++i) {
      const std::uint64_t id = events[static_cast<std::size_t>(i)].data.u64;
      if (id != kWakeup) ReadOne(id);
    }
  }
}

}  // namespace dstack::ssh
