#pragma once

#include <optional>
#include <string>
#include <vector>

#include <absl/status/statusor.h>
#include <sys/types.h>

#include "libs/base/file.h"
#include "services/runner/job/user_lookup.h"

namespace dstack::runner {

struct LaunchSpec {
  std::vector<std::string> argv;
  std::vector<std::string> env;  // "NAME=value"; its PATH is searched for the program
  std::string working_dir;
  // Absent: the user of this process.
  std::optional<JobUser> user;
};

struct Launched {
  pid_t pid = -1;
  // Non-blocking. Reads fail with EIO (terminal) or end (pipe) once no process has it open.
  base::UniqueFd output;
  // False: no terminal could be had, output is a pipe.
  bool is_terminal = true;
  // Leader of the command's session, a helper that does nothing: when a leader ends, the kernel hangs
  // up its terminal and throws away what was written last. It ends when `holder` is closed. -1 and
  // closed without a terminal.
  pid_t holder_pid = -1;
  base::UniqueFd holder;
};

// Starts the program as leader of a session of its own, with a new terminal (80x24, raw output:
// what is written is what is read) as its input, output and controlling terminal. The process dies
// with this one. Must be called in a process with one thread. Errors: NOT_FOUND no such program;
// PERMISSION_DENIED it must not be executed; others name the step that failed (user, working
// directory). No process is left behind then.
absl::StatusOr<Launched> Launch(const LaunchSpec& spec);

}  // namespace dstack::runner
