#pragma once

#include <chrono>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include <sys/types.h>

#include "libs/base/file.h"
#include "libs/base/mutex.h"
#include "libs/process/subprocess.h"

namespace dstack::testing {

// A program that runs beside the test: what it has written so far can be looked at while it runs.
// A thread of its own reads; the rest is for the thread of the test. A program that cannot be
// started fails the test case.
class LiveProgram {
 public:
  struct Options {
    std::vector<std::string> env;  // NAME=value, all of it
    std::string cwd;
    // A terminal of its own, 80 columns wide: standard output and error are one there.
    bool on_terminal = false;
  };
  LiveProgram(std::vector<std::string> argv, Options options);
  // Ends it with SIGKILL.
  ~LiveProgram();
  LiveProgram(const LiveProgram&) = delete;
  LiveProgram& operator=(const LiveProgram&) = delete;

  pid_t pid() const { return pid_; }
  std::string out() const;
  std::string err() const;
  // When each piece of standard output was read, as (bytes before its end, time).
  struct Arrival {
    std::size_t end = 0;
    std::chrono::steady_clock::time_point at;
  };
  std::vector<Arrival> arrivals() const;

  // Waits until standard output, or the screen, holds the text; fails the test case after
  // `timeout`.
  void AwaitOut(const std::string& text,
                std::chrono::nanoseconds timeout = std::chrono::seconds(30)) const;
  // Waits for the end; exit code, or 128 + signal. Fails the test case after `timeout`.
  int AwaitExit(std::chrono::nanoseconds timeout = std::chrono::seconds(30));
  bool IsRunning();

  void Signal(int signal) const;
  // Only on a terminal. "\x03" is Ctrl-C.
  void Type(const std::string& keys) const;

 private:
  void StartOnTerminal(std::vector<std::string> argv, Options options);
  void StartWithPipes(const std::vector<std::string>& argv, Options options);
  void Read(std::stop_token stop);
  bool ReadSome(int fd, std::string LiveProgram::*text);
  std::string Seen() const;

  pid_t pid_ = -1;
  std::optional<process::Subprocess> child_;  // absent on a terminal
  std::optional<int> exit_;
  base::UniqueFd out_fd_;
  base::UniqueFd err_fd_;

  mutable base::Mutex mutex_;
  std::string out_ GUARDED_BY(mutex_);
  std::string err_ GUARDED_BY(mutex_);
  std::vector<Arrival> arrivals_ GUARDED_BY(mutex_);
  std::jthread reader_;
};

}  // namespace dstack::testing
