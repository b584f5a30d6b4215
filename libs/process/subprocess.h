#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include <absl/status/statusor.h>
#include <sys/types.h>

#include "libs/base/clock.h"
#include "libs/base/file.h"

namespace dstack::process {

// How a child ended: by exit or by a signal.
struct Exit {
  int code = 0;    // exit status; 0 when ended by a signal
  int signal = 0;  // 0 when it exited

  bool ok() const { return code == 0 && signal == 0; }
  // What a shell shows: the code, or 128 + signal.
  int ShellStatus() const { return signal != 0 ? 128 + signal : code; }
  // "exited with status 3" or "was killed by signal 9 (Killed)".
  std::string ToString() const;

  bool operator==(const Exit&) const = default;
};

// Where an output of the child goes.
enum class Output {
  kNull,     // /dev/null
  kInherit,  // where ours goes
  kCapture,  // into memory, up to Options::output_limit_bytes; the rest is read and dropped
  kPipe,     // to a pipe whose read end the caller takes with Take{Stdout,Stderr}()
};

struct Options {
  // NAME=value, the child's whole environment. Absent: ours.
  std::optional<std::vector<std::string>> env;
  // Empty: ours. Must exist.
  std::string cwd;
  // Fed to the standard input, which then ends. Absent: see stdin_fd.
  std::optional<std::string> stdin_data;
  // Descriptor of ours that becomes the standard input; -1 means /dev/null.
  int stdin_fd = -1;
  // True: the caller writes to the standard input through TakeStdin(). Excludes the two above.
  bool stdin_pipe = false;
  Output stdout_mode = Output::kNull;
  Output stderr_mode = Output::kNull;
  // For each captured stream.
  std::size_t output_limit_bytes = 1 << 20;
  // A session of its own, so that a signal to the group reaches the whole tree and none of ours.
  // Without it the child still leads a process group of its own.
  bool new_session = true;
  // Further descriptors: {ours, number in the child}; 1 and 2 replace what the modes above say.
  // Nothing else above 2 is inherited.
  std::vector<std::pair<int, int>> inherit_fds;
  // When set, the child runs as this user and group (through setpriv(1), which must exist), with
  // the supplementary groups dropped. We must be root.
  std::optional<std::pair<uid_t, gid_t>> user;
};

// A child process. Movable, not thread-safe; different objects are independent. The destructor
// kills what is left of the group with SIGKILL and reaps the child. The child is waited for by
// pidfd and waitid of exactly this pid: nobody else in the process may reap unknown children
// meanwhile (see reaper.h).
class Subprocess {
 public:
  // Starts argv[0], looked up in our PATH when it has no slash. Never a shell: elements reach the
  // program as they are. NOT_FOUND when there is no such program, INVALID_ARGUMENT for an empty
  // argv or a NUL inside an element.
  static absl::StatusOr<Subprocess> Start(const std::vector<std::string>& argv,
                                          const Options& options = {});

  Subprocess(Subprocess&&) noexcept;
  Subprocess& operator=(Subprocess&&) noexcept;
  ~Subprocess();

  pid_t pid() const;

  // Waits for the end and, when streams are captured, for their end too. A grandchild that keeps a
  // captured stream open delays this only a little (100 ms after the child's end). Can be repeated.
  // DEADLINE_EXCEEDED or CANCELLED leave the child running.
  absl::StatusOr<Exit> WaitUntil(base::MonotonicTime deadline, const std::stop_token& stop = {});

  // Nothing while it runs.
  std::optional<Exit> Poll();

  // Sends a signal to the child, or to its whole process group (the group also after the child's
  // own end). OK when there is nobody left.
  absl::Status Kill(int signal);
  absl::Status KillGroup(int signal);

  // SIGTERM to the group, SIGKILL to it after `grace`, and the end.
  absl::StatusOr<Exit> Terminate(base::Duration grace);

  // Captured so far.
  const std::string& stdout_text() const;
  const std::string& stderr_text() const;
  // True when bytes were dropped because of the limit.
  bool output_truncated() const;

  // Our ends of the pipes; empty when not asked for or taken already. Blocking, close-on-exec.
  base::UniqueFd TakeStdin();
  base::UniqueFd TakeStdout();
  base::UniqueFd TakeStderr();

  // Lets the child live on alone: nothing is killed and nobody reaps it.
  void Detach();

 private:
  struct State;
  explicit Subprocess(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

struct RunResult {
  Exit exit;
  std::string stdout_text;
  std::string stderr_text;
  bool output_truncated = false;
};

// Starts, waits and collects: an output whose mode is kNull is captured, kInherit stays. After
// `timeout` the group is killed and the answer is DEADLINE_EXCEEDED with the end of the standard
// error in its message. An unsuccessful exit is a result, not an error.
absl::StatusOr<RunResult> Run(const std::vector<std::string>& argv,
                              base::Duration timeout,
                              Options options = {},
                              const std::stop_token& stop = {});

// Run(), with an unsuccessful exit as FAILED_PRECONDITION error that names the program, its end and
// the last line of its standard error, or where that is empty of its standard output, which it
// returns otherwise.
absl::StatusOr<std::string> RunChecked(const std::vector<std::string>& argv,
                                       base::Duration timeout,
                                       Options options = {},
                                       const std::stop_token& stop = {});

// The program with its path as execvp(3) would find it, or NOT_FOUND.
absl::StatusOr<std::string> FindProgram(const std::string& name);

// Our environment as NAME=value.
std::vector<std::string> CurrentEnvironment();

}  // namespace dstack::process
