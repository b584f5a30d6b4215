#include "services/runner/job/fork_exec.h"

#include <cerrno>
#include <csignal>

#include <fcntl.h>
#include <unistd.h>

#include "libs/base/status.h"

namespace dstack::runner {
namespace {

constexpr int kExitNotExecuted = 126;
// Sources are moved above this number first, so that no target overwrites one.
constexpr int kAboveTargets = 64;

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (const std::string& text : strings) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

void ResetSignals() {
  for (int signal = 1; signal < NSIG; ++signal) std::signal(signal, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

absl::StatusOr<pid_t> ForkExec(const ForkExecSpec& spec) {
  std::vector<char*> argv = Pointers(spec.argv);
  std::vector<char*> env = Pointers(spec.env);
  std::vector<int> sources(spec.fds.size());
  const pid_t pid = fork();
  if (pid < 0) return base::ErrnoError(errno, "fork");
  if (pid > 0) return pid;
  ResetSignals();
  setsid();
  for (std::size_t i = 0; i < sources.size(); ++i) {
    sources[i] = fcntl(spec.fds[i].first, F_DUPFD_CLOEXEC, kAboveTargets);
  }
  for (std::size_t i = 0; i < sources.size(); ++i) {
    if (dup2(sources[i], spec.fds[i].second) < 0) _exit(kExitNotExecuted);
  }
  execve(spec.program.c_str(), argv.data(), env.data());
  _exit(kExitNotExecuted);
}

}  // namespace dstack::runner
