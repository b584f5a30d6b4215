#include "services/runner/job/launcher.h"

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <string_view>

#include <absl/strings/str_split.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "libs/base/macros.h"
#include "libs/base/status.h"
#include "services/runner/job/fork_exec.h"

namespace dstack::runner {
namespace {

// Steps of the child, so that it can say where it failed.
enum class Step : int { kFork, kTerminal, kUser, kWorkingDir, kExec };
struct Failure {
  Step step;
  int error;
};

struct Terminal {
  base::UniqueFd ours;
  base::UniqueFd theirs;
};

// What the child needs, prepared before the fork.
struct ChildPlan {
  std::vector<char*> argv;
  std::vector<char*> shell_argv;  // for a script without "#!"
  std::vector<char*> env;
  std::vector<std::string> candidates;  // programs to try
  const LaunchSpec* spec = nullptr;
  int terminal = -1;
  bool is_terminal = true;
  int report = -1;
};

absl::StatusOr<Terminal> OpenTerminal() {
  Terminal terminal;
  terminal.ours.reset(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!terminal.ours) return base::ErrnoError(errno, "posix_openpt");
  const int ours = terminal.ours.get();
  if (unlockpt(ours) != 0) return base::ErrnoError(errno, "unlockpt");
  // Works also where /dev/pts shows another instance of the file system.
  terminal.theirs.reset(ioctl(ours, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!terminal.theirs) return base::ErrnoError(errno, "TIOCGPTPEER");
  termios mode{};
  if (tcgetattr(terminal.theirs.get(), &mode) == 0) {
    // No "\n" to "\r\n": logs hold what the process wrote.
    mode.c_oflag &= ~static_cast<tcflag_t>(OPOST);
    tcsetattr(terminal.theirs.get(), TCSANOW, &mode);
  }
  const winsize size{.ws_row = 24, .ws_col = 80, .ws_xpixel = 0, .ws_ypixel = 0};
  ioctl(ours, TIOCSWINSZ, &size);
  return terminal;
}

std::string_view Lookup(const std::vector<std::string>& env, std::string_view name) {
  for (const std::string& entry : env) {
    const std::string_view text(entry);
    if (text.starts_with(name) && text.substr(name.size()).starts_with('=')) {
      return text.substr(name.size() + 1);
    }
  }
  return {};
}

std::vector<std::string> Candidates(const LaunchSpec& spec) {
  const std::string& program = spec.argv.front();
  if (program.find('/') != std::string::npos) return {program};
  const std::string_view path = Lookup(spec.env, "PATH");
  std::vector<std::string> candidates;
  for (absl::string_view dir : absl::StrSplit(base::ToAbsl(path), ':')) {
    candidates.push_back(base::JoinPath(dir.empty() ? "." : base::ToStd(dir), program));
  }
  return candidates;
}

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (const std::string& text : strings) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

[[noreturn]] void Fail(const ChildPlan& plan, Step step) {
  const Failure failure{step, errno};
  [[maybe_unused]] const ssize_t written = write(plan.report, &failure, sizeof(failure));
  _exit(127);
}

void SwitchUser(const ChildPlan& plan) {
  if (!plan.spec->user) return;
  const JobUser& user = *plan.spec->user;
  if (setgroups(user.groups.size(), user.groups.data()) != 0 || setgid(user.gid) != 0 ||
      setuid(user.uid) != 0) {
    Fail(plan, Step::kUser);
  }
}

// As execvp: tries each candidate, prefers "must not" over "is not there" as the final error.
[[noreturn]] void Execute(ChildPlan& plan) {
  int error = ENOENT;
  for (const std::string& candidate : plan.candidates) {
    execve(candidate.c_str(), plan.argv.data(), plan.env.data());
    if (errno == ENOEXEC) {
      plan.shell_argv[1] = const_cast<char*>(candidate.c_str());
      execve("/bin/sh", plan.shell_argv.data(), plan.env.data());
      errno = ENOEXEC;
    }
    if (errno != ENOENT && errno != ENOTDIR) error = errno;
    if (errno != ENOENT && errno != ENOTDIR && errno != EACCES) break;
  }
  errno = error;
  Fail(plan, Step::kExec);
}

[[noreturn]] void RunChild(ChildPlan& plan, pid_t parent) {
  if (plan.is_terminal) {
    // The holder does the same; whoever comes first. SIGTTOU would stop a background group.
    setpgid(0, 0);
    std::signal(SIGTTOU, SIG_IGN);
    tcsetpgrp(plan.terminal, getpid());
  } else {
    setsid();
  }
  ResetSignals();
  const int input = plan.is_terminal ? plan.terminal : open("/dev/null", O_RDONLY);
  if (input >= 0) dup2(input, STDIN_FILENO);
  if (dup2(plan.terminal, STDOUT_FILENO) < 0 || dup2(plan.terminal, STDERR_FILENO) < 0) {
    Fail(plan, Step::kTerminal);
  }
  // Large pinned buffers of network cards need it; where it is not allowed nothing changes.
  const rlimit unlimited{.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};
  setrlimit(RLIMIT_MEMLOCK, &unlimited);
  umask(022);
  SwitchUser(plan);
  // Behind the change of user, which clears it. The parent may have gone before.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(127);
  if (chdir(plan.spec->working_dir.c_str()) != 0) Fail(plan, Step::kWorkingDir);
  Execute(plan);
}

// Waits for the end of `hold` with nothing else open.
[[noreturn]] void HoldTerminal(int hold) {
  dup2(hold, STDIN_FILENO);
  close_range(1, ~0U, 0);
  char byte = 0;
  while (read(STDIN_FILENO, &byte, 1) < 0 && errno == EINTR) {
  }
  _exit(0);
}

// The session's leader: takes the terminal, makes the command as a child of our parent (so that the
// exit status goes there) and stays.
[[noreturn]] void RunHolder(ChildPlan& plan, pid_t parent, int hold, int tell_pid) {
  ResetSignals();
  for (const int signal : {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTTOU, SIGPIPE}) {
    std::signal(signal, SIG_IGN);
  }
  prctl(PR_SET_NAME, "runner-terminal");
  setsid();
  if (ioctl(plan.terminal, TIOCSCTTY, 0) != 0) Fail(plan, Step::kTerminal);
  const auto pid =
      static_cast<pid_t>(syscall(SYS_clone, CLONE_PARENT | SIGCHLD, nullptr, nullptr, nullptr, 0));
  if (pid == 0) RunChild(plan, parent);
  if (pid < 0) Fail(plan, Step::kFork);
  setpgid(pid, pid);
  tcsetpgrp(plan.terminal, pid);
  [[maybe_unused]] const ssize_t written = write(tell_pid, &pid, sizeof(pid));
  HoldTerminal(hold);
}

absl::Status Explain(const Failure& failure, const LaunchSpec& spec) {
  const std::string& program = spec.argv.front();
  switch (failure.step) {
    case Step::kFork:
      return base::ErrnoError(failure.error, "cannot start a process");
    case Step::kTerminal:
      return base::ErrnoError(failure.error, "cannot set up the terminal");
    case Step::kUser:
      return base::Internal(base::Message(base::ErrnoError(
          failure.error, fmt::format("cannot switch to user {}", spec.user->name))));
    case Step::kWorkingDir:
      return base::Internal(base::Message(base::ErrnoError(
          failure.error, fmt::format("cannot change to working directory {}", spec.working_dir))));
    case Step::kExec:
      break;
  }
  if (failure.error == ENOENT || failure.error == ENOTDIR) {
    return absl::NotFoundError(fmt::format("command not found: {}", program));
  }
  return absl::PermissionDeniedError(fmt::format(
      "command cannot be executed: {}", base::Message(base::ErrnoError(failure.error, program))));
}

// Reads a whole value; false at the end of the pipe.
template <typename T>
bool ReadValue(int fd, T* value) {
  ssize_t got = 0;
  do {
    got = read(fd, value, sizeof(*value));
  } while (got < 0 && errno == EINTR);
  return got == static_cast<ssize_t>(sizeof(*value));
}

// Forks the command, or the holder that makes it. Returns the command's pid; -1 when the report
// says why there is none.
absl::StatusOr<pid_t> Fork(ChildPlan& plan, Launched* launched) {
  ASSIGN_OR_RETURN(base::Pipe hold, base::MakePipe());
  ASSIGN_OR_RETURN(base::Pipe tell_pid, base::MakePipe());
  const pid_t self = getpid();
  const pid_t pid = fork();
  if (pid < 0) return base::ErrnoError(errno, "fork");
  if (!plan.is_terminal) {
    if (pid == 0) RunChild(plan, self);
    return pid;
  }
  if (pid == 0) {
    hold.write.reset();
    RunHolder(plan, self, hold.read.get(), tell_pid.write.get());
  }
  launched->holder_pid = pid;
  launched->holder = std::move(hold.write);
  tell_pid.write.reset();
  pid_t command = -1;
  return ReadValue(tell_pid.read.get(), &command) ? command : -1;
}

}  // namespace

absl::StatusOr<Launched> Launch(const LaunchSpec& spec) {
  Launched launched;
  base::UniqueFd theirs;
  if (auto terminal = OpenTerminal(); terminal.ok()) {
    launched.output = std::move(terminal->ours);
    theirs = std::move(terminal->theirs);
    // So that programs may open /dev/tty and /proc/self/fd/1.
    if (spec.user) fchown(theirs.get(), spec.user->uid, static_cast<gid_t>(-1));
  } else {
    ASSIGN_OR_RETURN(base::Pipe pipe, base::MakePipe());
    launched.is_terminal = false;
    launched.output = std::move(pipe.read);
    theirs = std::move(pipe.write);
  }
  fcntl(launched.output.get(), F_SETFL, O_NONBLOCK | fcntl(launched.output.get(), F_GETFL));
  ASSIGN_OR_RETURN(base::Pipe report, base::MakePipe());

  ChildPlan plan{.argv = Pointers(spec.argv),
                 .shell_argv = {},
                 .env = Pointers(spec.env),
                 .candidates = Candidates(spec),
                 .spec = &spec,
                 .terminal = theirs.get(),
                 .is_terminal = launched.is_terminal,
                 .report = report.write.get()};
  static char shell[] = "/bin/sh";
  plan.shell_argv = {shell, nullptr};
  plan.shell_argv.insert(plan.shell_argv.end(), plan.argv.begin() + 1, plan.argv.end());

  ASSIGN_OR_RETURN(launched.pid, Fork(plan, &launched));
  report.write.reset();
  Failure failure{};
  // Closed by exec: the program runs.
  if (!ReadValue(report.read.get(), &failure)) return launched;
  if (launched.pid > 0) waitpid(launched.pid, nullptr, 0);
  return Explain(failure, spec);
}

}  // namespace dstack::runner
