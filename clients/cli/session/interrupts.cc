#include "clients/cli/session/interrupts.h"

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <string_view>

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace dstack::cli {
namespace {

// A signal handler can be told nothing but through globals.
std::atomic<int> g_interrupt_fd{-1};
std::atomic<int> g_exit_code{1};
std::atomic<bool> g_is_collecting{false};

void Notify(int fd) {
  const uint64_t one = 1;
  // Fails only when the counter is full, and then the descriptor is readable anyway.
  [[maybe_unused]] const ssize_t written = write(fd, &one, sizeof(one));
}

bool TakeAll(int fd) {
  uint64_t count = 0;
  return read(fd, &count, sizeof(count)) == static_cast<ssize_t>(sizeof(count));
}

void OnInterrupt(int /*signal*/) {
  const int saved_errno = errno;
  if (!g_is_collecting) {
    constexpr std::string_view kText = "\nOperation interrupted\n";
    [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, kText.data(), kText.size());
    _exit(g_exit_code);
  }
  Notify(g_interrupt_fd);
  errno = saved_errno;
}

void SetHandler(void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
}

}  // namespace

Interrupts::Interrupts(int exit_code)
    : interrupts_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      bell_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  g_interrupt_fd = interrupts_.get();
  g_exit_code = exit_code;
  g_is_collecting = false;
  SetHandler(&OnInterrupt);
}

Interrupts::~Interrupts() {
  SetHandler(SIG_DFL);
  g_interrupt_fd = -1;
}

bool Interrupts::Collect(bool is_on) { return g_is_collecting.exchange(is_on); }

bool Interrupts::Take() { return TakeAll(interrupts_.get()); }

void Interrupts::Ring() { Notify(bell_.get()); }

Interrupts::Woken Interrupts::Wait(std::chrono::milliseconds timeout, int input_fd) {
  pollfd fds[3] = {{interrupts_.get(), POLLIN, 0}, {bell_.get(), POLLIN, 0}, {input_fd, POLLIN, 0}};
  const int count = poll(fds, 3, timeout.count() < 0 ? -1 : static_cast<int>(timeout.count()));
  if (Take()) return Woken::kInterrupt;
  if (count <= 0) return Woken::kTimeout;
  if (fds[1].revents != 0) {
    TakeAll(bell_.get());
    return Woken::kBell;
  }
  return fds[2].revents != 0 ? Woken::kInput : Woken::kTimeout;
}

}  // namespace dstack::cli
