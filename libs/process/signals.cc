#include "libs/process/signals.h"

#include <algorithm>
#include <cerrno>
#include <chrono>

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "libs/base/status.h"

namespace dstack::process {

void IgnoreSigpipe() { signal(SIGPIPE, SIG_IGN); }

absl::StatusOr<SignalWaiter> SignalWaiter::Create(std::initializer_list<int> signals) {
  IgnoreSigpipe();
  sigset_t set;
  sigemptyset(&set);
  for (const int number : signals) sigaddset(&set, number);
  if (const int error = pthread_sigmask(SIG_BLOCK, &set, nullptr); error != 0) {
    return base::ErrnoError(error, "blocking signals");
  }
  base::UniqueFd fd(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd) return base::ErrnoError(errno, "making a signalfd");
  return SignalWaiter(std::move(fd));
}

std::optional<int> SignalWaiter::TryTake() {
  signalfd_siginfo info{};
  const ssize_t n = read(fd_.get(), &info, sizeof(info));
  if (n != static_cast<ssize_t>(sizeof(info))) return std::nullopt;
  return static_cast<int>(info.ssi_signo);
}

std::optional<int> SignalWaiter::WaitUntil(base::MonotonicTime deadline) {
  using std::chrono::milliseconds;
  while (true) {
    if (const auto taken = TryTake()) return taken;
    const auto now = std::chrono::steady_clock::now();
    if (now >= deadline) return std::nullopt;
    const auto wait = std::min<base::Duration>(deadline - now, std::chrono::hours(1));
    pollfd poll_fd{fd_.get(), POLLIN, 0};
    poll(&poll_fd, 1, static_cast<int>(std::chrono::ceil<milliseconds>(wait).count()));
  }
}

}  // namespace dstack::process
