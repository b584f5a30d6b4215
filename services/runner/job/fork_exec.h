#pragma once

#include <string>
#include <utility>
#include <vector>

#include <absl/status/statusor.h>
#include <sys/types.h>

namespace dstack::runner {

struct ForkExecSpec {
  std::string program;  // path
  std::vector<std::string> argv;
  std::vector<std::string> env;
  // {ours, number in the child}; all other descriptors above 2 must be close-on-exec.
  std::vector<std::pair<int, int>> fds;
};

// Starts one of our own helpers in a session of its own with default signals. The caller reaps it.
// A program that cannot be executed shows as exit status 126. Must be called in a process with one
// thread (others use process::Subprocess).
absl::StatusOr<pid_t> ForkExec(const ForkExecSpec& spec);

// For a child between fork and exec: default handlers, nothing blocked.
void ResetSignals();

}  // namespace dstack::runner
