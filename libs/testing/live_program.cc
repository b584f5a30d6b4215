#include "libs/testing/live_program.h"

#include <cerrno>
#include <utility>

#include <catch2/catch.hpp>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libs/testing/await.h"

namespace dstack::testing {
namespace {

constexpr int kReadPauseMs = 100;

std::vector<char*> Pointers(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

LiveProgram::LiveProgram(std::vector<std::string> argv, Options options) {
  if (options.on_terminal) {
    StartOnTerminal(std::move(argv), std::move(options));
  } else {
    StartWithPipes(argv, std::move(options));
  }
  reader_ = std::jthread([this](std::stop_token stop) { Read(std::move(stop)); });
}

LiveProgram::~LiveProgram() {
  if (!child_ && !exit_) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  child_.reset();
  reader_.request_stop();
}

void LiveProgram::StartOnTerminal(std::vector<std::string> argv, Options options) {
  const std::vector<char*> argv_pointers = Pointers(argv);
  const std::vector<char*> env_pointers = Pointers(options.env);
  const winsize size{.ws_row = 24, .ws_col = 80, .ws_xpixel = 0, .ws_ypixel = 0};
  int terminal = -1;
  pid_ = forkpty(&terminal, nullptr, nullptr, &size);
  REQUIRE(pid_ >= 0);
  if (pid_ == 0) {
    // The test process may have threads: nothing but these calls is safe here.
    if (chdir(options.cwd.c_str()) != 0) _exit(126);
    execve(argv_pointers[0], argv_pointers.data(), env_pointers.data());
    _exit(127);
  }
  out_fd_.reset(terminal);
}

void LiveProgram::StartWithPipes(const std::vector<std::string>& argv, Options options) {
  process::Options start;
  start.env = std::move(options.env);
  start.cwd = std::move(options.cwd);
  start.stdout_mode = process::Output::kPipe;
  start.stderr_mode = process::Output::kPipe;
  auto child = process::Subprocess::Start(argv, start);
  INFO(child.status().ToString());
  REQUIRE(child.ok());
  child_.emplace(*std::move(child));
  pid_ = child_->pid();
  out_fd_ = child_->TakeStdout();
  err_fd_ = child_->TakeStderr();
}

// Ends with the streams: both are closed, or the terminal is hung up.
void LiveProgram::Read(std::stop_token stop) {
  bool has_out = true;
  bool has_err = static_cast<bool>(err_fd_);
  while ((has_out || has_err) && !stop.stop_requested()) {
    pollfd polled[2] = {{has_out ? out_fd_.get() : -1, POLLIN, 0},
                        {has_err ? err_fd_.get() : -1, POLLIN, 0}};
    if (poll(polled, 2, kReadPauseMs) <= 0) continue;
    if (polled[0].revents != 0) has_out = ReadSome(out_fd_.get(), &LiveProgram::out_);
    if (polled[1].revents != 0) has_err = ReadSome(err_fd_.get(), &LiveProgram::err_);
  }
}

bool LiveProgram::ReadSome(int fd, std::string LiveProgram::*text) {
  char buffer[64 << 10];
  const ssize_t count = read(fd, buffer, sizeof(buffer));
  if (count < 0 && errno == EINTR) return true;
  if (count <= 0) return false;
  const auto now = std::chrono::steady_clock::now();
  base::MutexLock lock(mutex_);
  (this->*text).append(buffer, static_cast<std::size_t>(count));
  if (text == &LiveProgram::out_) arrivals_.push_back({out_.size(), now});
  return true;
}

std::string LiveProgram::out() const {
  base::MutexLock lock(mutex_);
  return out_;
}

std::string LiveProgram::err() const {
  base::MutexLock lock(mutex_);
  return err_;
}

std::vector<LiveProgram::Arrival> LiveProgram::arrivals() const {
  base::MutexLock lock(mutex_);
  return arrivals_;
}

std::string LiveProgram::Seen() const {
  constexpr std::size_t kMost = 4000;
  std::string seen = out();
  if (seen.size() > kMost) seen = "..." + seen.substr(seen.size() - kMost);
  return "output:\n" + seen + "\nerrors:\n" + err();
}

void LiveProgram::AwaitOut(const std::string& text, std::chrono::nanoseconds timeout) const {
  Await(
      timeout,
      [&] {
        base::MutexLock lock(mutex_);
        return out_.find(text) != std::string::npos;
      },
      [&] { return "no \"" + text + "\" in " + Seen(); });
}

bool LiveProgram::IsRunning() {
  if (exit_) return false;
  if (child_) {
    if (const auto exit = child_->Poll()) exit_ = exit->ShellStatus();
  } else {
    int status = 0;
    if (waitpid(pid_, &status, WNOHANG) == pid_) {
      exit_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
  }
  return !exit_;
}

int LiveProgram::AwaitExit(std::chrono::nanoseconds timeout) {
  Await(
      timeout, [&] { return !IsRunning(); }, [&] { return "it still runs, " + Seen(); });
  // What it wrote last may still be in the pipe.
  reader_.join();
  return *exit_;
}

void LiveProgram::Signal(int signal) const { kill(pid_, signal); }

void LiveProgram::Type(const std::string& keys) const {
  REQUIRE(base::WriteAll(out_fd_.get(), keys).ok());
}

}  // namespace dstack::testing
