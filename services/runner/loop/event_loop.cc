#include "services/runner/loop/event_loop.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "libs/base/status.h"
#include "libs/telemetry/log.h"

namespace dstack::runner {
namespace {

// Without these descriptors the process can do nothing at all.
int OrDie(int fd, const char* what) {
  if (fd >= 0) return fd;
  telemetry::Error("no event loop", {{"call", what}, {"error", base::ErrnoError(errno, what)}});
  std::abort();
}

}  // namespace

EventLoop::EventLoop()
    : epoll_(OrDie(epoll_create1(EPOLL_CLOEXEC), "epoll_create1")),
      wake_(OrDie(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd")) {
  Watch(wake_.get(), EPOLLIN, [this](std::uint32_t) {
    std::uint64_t count = 0;
    [[maybe_unused]] const ssize_t got = read(wake_.get(), &count, sizeof(count));
  });
}

EventLoop::~EventLoop() = default;

void EventLoop::Watch(int fd, std::uint32_t events, std::function<void(std::uint32_t)> handler) {
  const bool is_new = !handlers_.contains(fd);
  handlers_[fd] = std::make_shared<std::function<void(std::uint32_t)>>(std::move(handler));
  epoll_event event{.events = events, .data = {.fd = fd}};
  OrDie(epoll_ctl(epoll_.get(), is_new ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &event), "epoll_ctl");
}

void EventLoop::Unwatch(int fd) {
  if (handlers_.erase(fd) > 0) epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
}

EventLoop::TimerId EventLoop::After(std::chrono::nanoseconds delay, Task task) {
  const TimerId id = next_timer_++;
  const auto due = base::DeadlineAfter(std::chrono::steady_clock::now(), delay);
  timers_.emplace(std::pair(due, id), std::move(task));
  due_.emplace(id, due);
  return id;
}

void EventLoop::Cancel(TimerId* id) {
  if (const auto found = due_.find(*id); found != due_.end()) {
    timers_.erase({found->second, *id});
    due_.erase(found);
  }
  *id = kNoTimer;
}

bool EventLoop::Post(Task task) {
  {
    base::MutexLock lock(mutex_);
    if (is_closed_) return false;
    posted_.push_back(std::move(task));
  }
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(wake_.get(), &one, sizeof(one));
  return true;
}

void EventLoop::Stop() {
  {
    base::MutexLock lock(mutex_);
    is_stopping_ = true;
  }
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(wake_.get(), &one, sizeof(one));
}

void EventLoop::Run() {
  while (true) {
    RunPosted();
    {
      base::MutexLock lock(mutex_);
      if (is_stopping_ && posted_.empty()) {
        is_closed_ = true;
        return;
      }
      if (!posted_.empty()) continue;
    }
    std::array<epoll_event, 16> events;
    const int count = epoll_wait(
        epoll_.get(), events.data(), static_cast<int>(events.size()), WaitMilliseconds());
    if (count < 0 && errno != EINTR) OrDie(-1, "epoll_wait");
    for (int i = 0; i < count; ++i) {
      // A handler may have unwatched the descriptor of a later event of the same round. The copy
      // keeps a handler alive that unwatches itself.
      const auto found = handlers_.find(events[static_cast<std::size_t>(i)].data.fd);
      if (found == handlers_.end()) continue;
      const Handler handler = found->second;
      (*handler)(events[static_cast<std::size_t>(i)].events);
    }
    RunDueTimers();
  }
}

int EventLoop::WaitMilliseconds() const {
  if (timers_.empty()) return -1;
  const auto wait = timers_.begin()->first.first - std::chrono::steady_clock::now();
  // Rounded up, so that a timer is due when the wait ends.
  const auto milliseconds = std::chrono::ceil<std::chrono::milliseconds>(wait).count();
  constexpr std::int64_t kLongest = 60'000;
  return static_cast<int>(std::clamp<std::int64_t>(milliseconds, 0, kLongest));
}

void EventLoop::RunDueTimers() {
  const auto now = std::chrono::steady_clock::now();
  while (!timers_.empty() && timers_.begin()->first.first <= now) {
    auto node = timers_.extract(timers_.begin());
    due_.erase(node.key().second);
    node.mapped()();
  }
}

void EventLoop::RunPosted() {
  for (Task& task : TakePosted()) task();
}

std::vector<EventLoop::Task> EventLoop::TakePosted() {
  base::MutexLock lock(mutex_);
  return std::exchange(posted_, {});
}

}  // namespace dstack::runner
