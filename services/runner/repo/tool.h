#pragma once

#include <optional>
#include <string>
#include <vector>

#include <absl/status/status.h>

#include "services/runner/job/user_lookup.h"

namespace dstack::runner {

// Programs of the bundle, called by the names that git uses for them. The bundle's programs need
// its loader wherever the bundle is not mounted at its usual place, git starts them by bare names,
// and there may be no shell to wrap them: so each name is a link to this binary, which executes the
// loader with the program.

// Variables that lead from a link to its program.
inline constexpr char kToolBundle[] = "DSTACK_TOOL_BUNDLE";   // directory of the bundle
inline constexpr char kToolSshKey[] = "DSTACK_TOOL_SSH_KEY";  // private key for ssh; unset: none

// Makes `dir` (mode 0755) with the links git, git-remote-http, git-remote-https and ssh.
absl::Status MakeToolLinks(const std::string& dir);

// For main: when the process was called by the name of a tool and kToolBundle is set, executes it;
// comes back only when that fails, with the exit status. Nothing: this is no such call.
std::optional<int> RunAsTool(int argc, char** argv);

// Arguments that run `argv` as `user` through this binary: no setpriv(1) is needed, and no fork of
// a process with threads. The program dies with the caller's thread.
std::vector<std::string> AsUser(const JobUser& user, std::vector<std::string> argv);

// For main: carries out AsUser. Like RunAsTool.
std::optional<int> RunAsUser(int argc, char** argv);

// For main: this program as the login shell of an image that has none says so. Like RunAsTool.
std::optional<int> RunAsShell(int argc, char** argv);

}  // namespace dstack::runner
