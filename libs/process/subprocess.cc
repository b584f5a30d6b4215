#include "libs/process/subprocess.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libs/base/status.h"
#include "libs/process/signals.h"

extern char** environ;  // NOLINT(readability-redundant-declaration): POSIX asks for it

namespace dstack::process {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// How long captured streams are read after the child's end. Its own output is in the pipe by then;
// only a grandchild that kept the stream open could write more.
constexpr milliseconds kDrainTime{100};
// Longest sleep while a stop_token is watched: it has no descriptor to poll.
constexpr milliseconds kStopCheck{50};
constexpr int kFirstFreeFd = 3;
constexpr int kReadRounds = 64;

// pidfd_open(2); glibc 2.36's header for it lacks C linkage.
int OpenPidFd(pid_t pid) { return static_cast<int>(syscall(SYS_pidfd_open, pid, 0)); }

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  for (const std::string& text : strings) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

bool HasNul(const std::vector<std::string>& strings) {
  return std::any_of(strings.begin(), strings.end(), [](const std::string& text) {
    return text.find('\0') != std::string::npos;
  });
}

std::vector<std::string> WithUser(const std::vector<std::string>& argv, const Options& options) {
  if (!options.user) return argv;
  std::vector<std::string> full = {"setpriv",
                                   fmt::format("--reuid={}", options.user->first),
                                   fmt::format("--regid={}", options.user->second),
                                   "--clear-groups",
                                   "--"};
  full.insert(full.end(), argv.begin(), argv.end());
  return full;
}

// The list of descriptor moves of posix_spawn.
class FileActions {
 public:
  FileActions() { posix_spawn_file_actions_init(&actions_); }
  ~FileActions() { posix_spawn_file_actions_destroy(&actions_); }
  FileActions(const FileActions&) = delete;
  FileActions& operator=(const FileActions&) = delete;

  // dup2 of a descriptor onto itself clears close-on-exec in posix_spawn, as is wanted here.
  void Dup(int from, int to) { posix_spawn_file_actions_adddup2(&actions_, from, to); }
  void OpenNull(int fd, int flags) {
    posix_spawn_file_actions_addopen(&actions_, fd, "/dev/null", flags, 0);
  }
  void ChangeDir(const std::string& path) {
    posix_spawn_file_actions_addchdir_np(&actions_, path.c_str());
  }
  // Nothing happens when it is not open.
  void Close(int fd) { posix_spawn_file_actions_addclose(&actions_, fd); }
  void CloseFrom(int fd) { posix_spawn_file_actions_addclosefrom_np(&actions_, fd); }
  const posix_spawn_file_actions_t* get() const { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_;
};

// Signals as a fresh program expects them: nothing blocked, nothing ignored, own group or session.
class Attributes {
 public:
  explicit Attributes(bool new_session) {
    posix_spawnattr_init(&attributes_);
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_setsigmask(&attributes_, &none);
    sigset_t defaults;
    sigemptyset(&defaults);
    for (const int signal :
         {SIGPIPE, SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGCHLD, SIGUSR1, SIGUSR2}) {
      sigaddset(&defaults, signal);
    }
    posix_spawnattr_setsigdefault(&attributes_, &defaults);
    int flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
    flags |= new_session ? POSIX_SPAWN_SETSID : POSIX_SPAWN_SETPGROUP;
    posix_spawnattr_setflags(&attributes_, static_cast<short>(flags));
  }
  ~Attributes() { posix_spawnattr_destroy(&attributes_); }
  Attributes(const Attributes&) = delete;
  Attributes& operator=(const Attributes&) = delete;
  const posix_spawnattr_t* get() const { return &attributes_; }

 private:
  posix_spawnattr_t attributes_;
};

Exit FromWait(const siginfo_t& info) {
  if (info.si_code == CLD_EXITED) return {.code = info.si_status, .signal = 0};
  return {.code = 0, .signal = info.si_status};
}

void SetNonBlocking(int fd) { fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK); }

std::string LastLine(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.remove_suffix(1);
  const std::size_t newline = text.rfind('\n');
  if (newline != std::string_view::npos) text.remove_prefix(newline + 1);
  return std::string(text.substr(0, 500));
}

// A captured stream.
struct Captured {
  base::UniqueFd fd;
  std::string text;
  bool truncated = false;

  // Reads what is there; closes at the end. Bounded, because a child may write as fast as we read
  // and the caller has a deadline.
  void Read(std::size_t limit) {
    std::array<char, 16 << 10> buffer;
    for (int round = 0; fd && round < kReadRounds; ++round) {
      const ssize_t n = read(fd.get(), buffer.data(), buffer.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
      if (n <= 0) {
        fd.reset();
        return;
      }
      const std::size_t room = limit - std::min(limit, text.size());
      const std::size_t kept = std::min(room, static_cast<std::size_t>(n));
      text.append(buffer.data(), kept);
      truncated = truncated || kept < static_cast<std::size_t>(n);
    }
  }
};

}  // namespace

struct Subprocess::State {
  pid_t pid = -1;
  base::UniqueFd pidfd;
  std::optional<Exit> exit;
  // When captured streams stop being read although somebody keeps them open.
  steady_clock::time_point drain_end;
  bool detached = false;
  std::size_t limit = 0;
  Captured out;
  Captured err;
  base::UniqueFd stdin_pipe;
  std::string stdin_data;
  std::size_t stdin_sent = 0;
  bool feeds_stdin = false;
  base::UniqueFd stdout_pipe;
  base::UniqueFd stderr_pipe;

  void TryReap();
  void FeedStdin();
  bool Done() const { return exit && ((!out.fd && !err.fd) || steady_clock::now() >= drain_end); }
  void PollOnce(milliseconds timeout);
};

void Subprocess::State::TryReap() {
  if (exit) return;
  siginfo_t info{};
  if (waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG) != 0) {
    if (errno != ECHILD) return;
    // Somebody reaped it in our place; that it ended is all that is known.
    exit = Exit{.code = 255, .signal = 0};
  } else if (info.si_pid == pid) {
    exit = FromWait(info);
  } else {
    return;
  }
  drain_end = steady_clock::now() + kDrainTime;
  feeds_stdin = false;
}

void Subprocess::State::FeedStdin() {
  while (feeds_stdin && stdin_sent < stdin_data.size()) {
    const ssize_t n =
        write(stdin_pipe.get(), stdin_data.data() + stdin_sent, stdin_data.size() - stdin_sent);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return;
    // EPIPE: the child does not want to read it all, which is its right.
    if (n < 0) break;
    stdin_sent += static_cast<std::size_t>(n);
  }
  if (!feeds_stdin) return;
  feeds_stdin = false;
  stdin_pipe.reset();
}

void Subprocess::State::PollOnce(milliseconds timeout) {
  std::array<pollfd, 4> fds{};
  nfds_t count = 0;
  if (out.fd) fds[count++] = {out.fd.get(), POLLIN, 0};
  if (err.fd) fds[count++] = {err.fd.get(), POLLIN, 0};
  if (feeds_stdin) fds[count++] = {stdin_pipe.get(), POLLOUT, 0};
  if (!exit) fds[count++] = {pidfd.get(), POLLIN, 0};
  poll(fds.data(), count, static_cast<int>(timeout.count()));
  FeedStdin();
  out.Read(limit);
  err.Read(limit);
  const bool was_running = !exit;
  TryReap();
  // What the child wrote between our read and its end.
  if (was_running && exit) {
    out.Read(limit);
    err.Read(limit);
  }
}

namespace {

// The child's ends of the streams; they close when the child has been started.
struct ChildEnds {
  base::UniqueFd in;
  base::UniqueFd out;
  base::UniqueFd err;
};

// Moves a descriptor out of the range that file actions overwrite.
absl::Status MoveAbove(base::UniqueFd& fd, int minimum) {
  if (fd.get() >= minimum) return absl::OkStatus();
  const int moved = fcntl(fd.get(), F_DUPFD_CLOEXEC, minimum);
  if (moved < 0) return base::ErrnoError(errno, "duplicating a descriptor");
  fd.reset(moved);
  return absl::OkStatus();
}

absl::Status PrepareOutput(
    Output mode, int minimum, base::UniqueFd& child, Captured& captured, base::UniqueFd& piped) {
  if (mode != Output::kCapture && mode != Output::kPipe) return absl::OkStatus();
  ASSIGN_OR_RETURN(base::Pipe pipe, base::MakePipe());
  RETURN_IF_ERROR(MoveAbove(pipe.write, minimum));
  child = std::move(pipe.write);
  if (mode == Output::kPipe) {
    piped = std::move(pipe.read);
  } else {
    SetNonBlocking(pipe.read.get());
    captured.fd = std::move(pipe.read);
  }
  return absl::OkStatus();
}

void AddOutput(FileActions& actions, Output mode, const base::UniqueFd& child, int fd) {
  if (child) {
    actions.Dup(child.get(), fd);
  } else if (mode == Output::kNull) {
    actions.OpenNull(fd, O_WRONLY);
  }
}

// One above the highest number that the child uses, so that our ends lie beyond it.
int FirstFreeInChild(const Options& options) {
  int first = kFirstFreeFd;
  for (const auto& [ours, theirs] : options.inherit_fds) first = std::max(first, theirs + 1);
  return first;
}

absl::Status CheckArguments(const std::vector<std::string>& argv, const Options& options) {
  if (argv.empty() || argv.front().empty()) return base::Invalid("the argument list is empty");
  if (HasNul(argv)) return base::Invalid("an argument contains a NUL byte");
  if (options.env && HasNul(*options.env)) {
    return base::Invalid("an environment variable contains a NUL byte");
  }
  for (const auto& [ours, theirs] : options.inherit_fds) {
    if (ours < 0 || theirs < STDOUT_FILENO) {
      return base::Invalid(fmt::format("descriptor {} cannot become {}", ours, theirs));
    }
  }
  return absl::OkStatus();
}

// Descriptors to hand on, copied above everything the child uses: {copy, number in the child}.
absl::StatusOr<std::vector<std::pair<base::UniqueFd, int>>> CopyInherited(const Options& options,
                                                                          int minimum) {
  std::vector<std::pair<base::UniqueFd, int>> copies;
  for (const auto& [ours, theirs] : options.inherit_fds) {
    base::UniqueFd copy(fcntl(ours, F_DUPFD_CLOEXEC, minimum));
    if (!copy) return base::ErrnoError(errno, fmt::format("inheriting descriptor {}", ours));
    copies.emplace_back(std::move(copy), theirs);
  }
  return copies;
}

absl::StatusOr<pid_t> Spawn(const std::vector<std::string>& argv,
                            const Options& options,
                            const ChildEnds& ends) {
  const int first_free = FirstFreeInChild(options);
  ASSIGN_OR_RETURN(const auto inherited, CopyInherited(options, first_free));
  FileActions actions;
  if (ends.in) {
    actions.Dup(ends.in.get(), STDIN_FILENO);
  } else if (options.stdin_fd >= 0) {
    actions.Dup(options.stdin_fd, STDIN_FILENO);
  } else {
    actions.OpenNull(STDIN_FILENO, O_RDONLY);
  }
  AddOutput(actions, options.stdout_mode, ends.out, STDOUT_FILENO);
  AddOutput(actions, options.stderr_mode, ends.err, STDERR_FILENO);
  std::vector<int> kept;
  for (const auto& [copy, theirs] : inherited) {
    actions.Dup(copy.get(), theirs);
    kept.push_back(theirs);
  }
  // Our descriptors are close-on-exec; this closes those of careless libraries too.
  for (int fd = kFirstFreeFd; fd < first_free; ++fd) {
    if (std::find(kept.begin(), kept.end(), fd) == kept.end()) actions.Close(fd);
  }
  actions.CloseFrom(first_free);
  if (!options.cwd.empty()) actions.ChangeDir(options.cwd);

  const Attributes attributes(options.new_session);
  const std::vector<char*> arguments = Pointers(argv);
  const std::vector<char*> environment =
      options.env ? Pointers(*options.env) : std::vector<char*>();
  ASSIGN_OR_RETURN(const std::string program, FindProgram(argv.front()));
  pid_t pid = -1;
  const int error = posix_spawn(&pid,
                                program.c_str(),
                                actions.get(),
                                attributes.get(),
                                arguments.data(),
                                options.env ? environment.data() : environ);
  if (error == 0) return pid;
  const std::string where = options.cwd.empty() ? "" : fmt::format(" in {}", options.cwd);
  return base::ErrnoError(error, fmt::format("starting {}{}", argv.front(), where));
}

}  // namespace

std::string Exit::ToString() const {
  if (signal == 0) return fmt::format("exited with status {}", code);
  const char* name = sigdescr_np(signal);
  return fmt::format("was killed by signal {} ({})", signal, name != nullptr ? name : "unknown");
}

Subprocess::Subprocess(std::unique_ptr<State> state) : state_(std::move(state)) {}
Subprocess::Subprocess(Subprocess&&) noexcept = default;

Subprocess& Subprocess::operator=(Subprocess&& other) noexcept {
  // Ends the present child by the destructor of the temporary.
  Subprocess(std::move(other)).state_.swap(state_);
  return *this;
}

Subprocess::~Subprocess() {
  if (!state_ || state_->detached) return;
  kill(-state_->pid, SIGKILL);
  if (state_->exit) return;
  kill(state_->pid, SIGKILL);
  siginfo_t info{};
  while (waitid(P_PID, static_cast<id_t>(state_->pid), &info, WEXITED) != 0 && errno == EINTR) {
  }
}

absl::StatusOr<Subprocess> Subprocess::Start(const std::vector<std::string>& argv,
                                             const Options& options) {
  RETURN_IF_ERROR(CheckArguments(argv, options));
  // A child that closes its input early must not end us.
  IgnoreSigpipe();
  auto state = std::make_unique<State>();
  state->limit = options.output_limit_bytes;
  const int minimum = FirstFreeInChild(options);
  ChildEnds ends;
  if (options.stdin_data || options.stdin_pipe) {
    ASSIGN_OR_RETURN(base::Pipe pipe, base::MakePipe());
    RETURN_IF_ERROR(MoveAbove(pipe.read, minimum));
    ends.in = std::move(pipe.read);
    state->stdin_pipe = std::move(pipe.write);
    if (options.stdin_data) {
      SetNonBlocking(state->stdin_pipe.get());
      state->stdin_data = *options.stdin_data;
      state->feeds_stdin = true;
    }
  }
  RETURN_IF_ERROR(
      PrepareOutput(options.stdout_mode, minimum, ends.out, state->out, state->stdout_pipe));
  RETURN_IF_ERROR(
      PrepareOutput(options.stderr_mode, minimum, ends.err, state->err, state->stderr_pipe));
  ASSIGN_OR_RETURN(state->pid, Spawn(WithUser(argv, options), options, ends));
  // From here on the destructor cleans up.
  Subprocess child(std::move(state));
  child.state_->pidfd.reset(OpenPidFd(child.state_->pid));
  if (!child.state_->pidfd) return base::ErrnoError(errno, "opening a pidfd");
  child.state_->FeedStdin();
  return child;
}

pid_t Subprocess::pid() const { return state_->pid; }

absl::StatusOr<Exit> Subprocess::WaitUntil(base::MonotonicTime deadline,
                                           const std::stop_token& stop) {
  while (true) {
    state_->PollOnce(milliseconds(0));
    if (state_->Done()) return *state_->exit;
    if (stop.stop_requested()) return absl::CancelledError("waiting for a process was cancelled");
    const auto now = steady_clock::now();
    if (now >= deadline) return absl::DeadlineExceededError("the process still runs");
    auto wait = std::min<base::Duration>(deadline - now, std::chrono::hours(1));
    if (state_->exit) wait = std::min<base::Duration>(wait, state_->drain_end - now);
    if (stop.stop_possible()) wait = std::min<base::Duration>(wait, kStopCheck);
    state_->PollOnce(std::chrono::ceil<milliseconds>(std::max(wait, base::Duration::zero())));
  }
}

std::optional<Exit> Subprocess::Poll() {
  state_->PollOnce(milliseconds(0));
  return state_->exit;
}

absl::Status Subprocess::Kill(int signal) {
  // After the end the number may belong to somebody else.
  if (state_->exit) return absl::OkStatus();
  if (kill(state_->pid, signal) != 0 && errno != ESRCH) {
    return base::ErrnoError(errno, fmt::format("signalling process {}", state_->pid));
  }
  return absl::OkStatus();
}

absl::Status Subprocess::KillGroup(int signal) {
  // The group's number is not reused while a member lives, and ESRCH when none does. A member of a
  // foreign group could only match after the pid itself was reused by a new leader; the kernel
  // hands out pids in a circle, so that takes a whole round.
  if (kill(-state_->pid, signal) != 0 && errno != ESRCH) {
    return base::ErrnoError(errno, fmt::format("signalling process group {}", state_->pid));
  }
  return absl::OkStatus();
}

absl::StatusOr<Exit> Subprocess::Terminate(base::Duration grace) {
  RETURN_IF_ERROR(KillGroup(SIGTERM));
  auto ended = WaitUntil(base::DeadlineIn(grace));
  RETURN_IF_ERROR(KillGroup(SIGKILL));
  if (ended.ok()) return ended;
  return WaitUntil(base::kNoDeadline);
}

const std::string& Subprocess::stdout_text() const { return state_->out.text; }
const std::string& Subprocess::stderr_text() const { return state_->err.text; }

bool Subprocess::output_truncated() const { return state_->out.truncated || state_->err.truncated; }

base::UniqueFd Subprocess::TakeStdin() {
  return state_->feeds_stdin ? base::UniqueFd() : std::move(state_->stdin_pipe);
}
base::UniqueFd Subprocess::TakeStdout() { return std::move(state_->stdout_pipe); }
base::UniqueFd Subprocess::TakeStderr() { return std::move(state_->stderr_pipe); }

void Subprocess::Detach() { state_->detached = true; }

absl::StatusOr<RunResult> Run(const std::vector<std::string>& argv,
                              base::Duration timeout,
                              Options options,
                              const std::stop_token& stop) {
  if (options.stdout_mode == Output::kNull) options.stdout_mode = Output::kCapture;
  if (options.stderr_mode == Output::kNull) options.stderr_mode = Output::kCapture;
  ASSIGN_OR_RETURN(Subprocess child, Subprocess::Start(argv, options));
  const auto exit = child.WaitUntil(base::DeadlineIn(timeout), stop);
  if (absl::IsDeadlineExceeded(exit.status())) {
    const auto limit = std::chrono::duration_cast<milliseconds>(timeout);
    const std::string last = LastLine(child.stderr_text());
    return absl::DeadlineExceededError(base::ToAbsl(fmt::format("{} did not end within {} ms{}{}",
                                                                argv.front(),
                                                                limit.count(),
                                                                last.empty() ? "" : ": ",
                                                                last)));
  }
  RETURN_IF_ERROR(exit.status());
  return RunResult{*exit, child.stdout_text(), child.stderr_text(), child.output_truncated()};
}

absl::StatusOr<std::string> RunChecked(const std::vector<std::string>& argv,
                                       base::Duration timeout,
                                       Options options,
                                       const std::stop_token& stop) {
  ASSIGN_OR_RETURN(RunResult result, Run(argv, timeout, std::move(options), stop));
  if (result.exit.ok()) return std::move(result.stdout_text);
  // Some programs complain on their standard output.
  const std::string last =
      LastLine(result.stderr_text.empty() ? result.stdout_text : result.stderr_text);
  return absl::FailedPreconditionError(base::ToAbsl(fmt::format(
      "{} {}{}{}", argv.front(), result.exit.ToString(), last.empty() ? "" : ": ", last)));
}

absl::StatusOr<std::string> FindProgram(const std::string& name) {
  if (name.find('/') != std::string::npos) return name;
  const char* path_variable = std::getenv("PATH");
  std::string_view path = path_variable != nullptr ? path_variable : "/usr/bin:/bin";
  while (!path.empty()) {
    const std::size_t end = std::min(path.find(':'), path.size());
    const std::string candidate = base::JoinPath(path.substr(0, end), name);
    path.remove_prefix(std::min(end + 1, path.size()));
    if (access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return absl::NotFoundError(base::ToAbsl(fmt::format("program {} is not in PATH", name)));
}

std::vector<std::string> CurrentEnvironment() {
  std::vector<std::string> variables;
  for (char** entry = environ; *entry != nullptr; ++entry) variables.emplace_back(*entry);
  return variables;
}

}  // namespace dstack::process
