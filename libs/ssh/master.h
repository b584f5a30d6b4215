#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "libs/base/clock.h"
#include "libs/base/mutex.h"
#include "libs/base/secret.h"
#include "libs/process/subprocess.h"
#include "libs/ssh/command.h"
#include "libs/ssh/pipe_watcher.h"

namespace dstack::ssh {

// A machine to log in to, with keys in memory.
struct Login {
  std::string hostname;
  std::uint16_t port = 22;
  std::string user;
  std::vector<base::Secret> private_keys;  // tried in this order
  std::string host_key;                    // "type base64"; empty: record what the host shows
};

struct MasterOptions {
  Login host;
  std::optional<Login> jump;
  // Made with mode 0700, emptied at the start and removed at the end. Short: the sockets in it must
  // stay below 108 bytes. Nobody else uses it.
  std::string directory;
  // For the network and for each step of the handshake.
  std::chrono::seconds connect_timeout{10};
  // For everything until the session runs.
  std::chrono::seconds open_timeout{20};
  // Called at most once, on the watcher's thread, when a connection that was up has ended by
  // itself.
  std::function<void(absl::Status)> on_broken;
};

enum class MasterState { kUp, kBroken };

// A supervised OpenSSH master: one ssh process and one session kept open on it, over which forwards
// are added and commands are run through the control socket. The session is a `cat` at the end of a
// pipe of ours, so that the connection ends when this process does, however it ends; and a
// connection without a session would be slow, because ssh leaves Nagle's algorithm on for it.
// Thread-safe, blocking.
class Master {
 public:
  // Connects, up to the open timeout. Errors are those of ConnectionError(), INVALID_ARGUMENT of
  // Validate(), CANCELLED. `watcher` outlives the object.
  static absl::StatusOr<std::unique_ptr<Master>> Open(MasterOptions options,
                                                      PipeWatcher& watcher,
                                                      std::stop_token stop = {});
  // Ends the connection at once.
  ~Master();
  Master(const Master&) = delete;
  Master& operator=(const Master&) = delete;

  // A local socket whose connections reach `remote_socket`, which need not exist yet. The same
  // remote socket gives the same local one. UNAVAILABLE when the master is gone.
  absl::StatusOr<std::string> AddForward(const std::string& remote_socket);
  void RemoveForward(const std::string& remote_socket);

  // Runs a command in the login shell's environment on the host. UNAVAILABLE when the connection
  // broke, DEADLINE_EXCEEDED; any exit status of the command itself is a result.
  absl::StatusOr<process::RunResult> Exec(const std::vector<std::string>& argv,
                                          base::Duration timeout,
                                          std::optional<std::string> stdin_data = std::nullopt,
                                          std::stop_token stop = {});

  // The host's key ("type base64"), given or recorded at the login.
  const std::string& host_key() const { return host_key_; }
  MasterState state() const;
  pid_t pid() const { return child_->pid(); }

 private:
  Master(MasterOptions options, PipeWatcher& watcher);

  absl::Status PrepareFiles();
  absl::StatusOr<Hop> WriteLogin(const Login& login,
                                 const std::string& alias,
                                 std::string* known_hosts);
  absl::Status Start();
  absl::Status WaitUntilUp(std::stop_token stop);
  void ReadHostKey();
  void OnOutput(std::string_view data, bool is_end);
  void OnLog(std::string_view data, bool is_end);
  absl::Status Failure();
  absl::StatusOr<process::RunResult> Control(const std::vector<std::string>& argv);
  absl::Status Gone(const std::string& what, const std::string& detail);

  MasterOptions options_;
  PipeWatcher& watcher_;
  ConnectionSpec spec_;
  std::string destination_;
  std::string host_key_;
  std::optional<process::Subprocess> child_;
  base::UniqueFd child_stdin_;
  std::uint64_t output_watch_ = 0;
  std::uint64_t log_watch_ = 0;

  mutable base::Mutex mutex_;
  base::CondVar changed_;
  std::string output_ GUARDED_BY(mutex_);  // until the marker was seen
  std::string log_ GUARDED_BY(mutex_);     // the last bytes of what ssh wrote
  bool is_up_ GUARDED_BY(mutex_) = false;
  bool output_ended_ GUARDED_BY(mutex_) = false;
  bool log_ended_ GUARDED_BY(mutex_) = false;
  bool was_up_ GUARDED_BY(mutex_) = false;
  std::map<std::string, std::string> forwards_ GUARDED_BY(mutex_);  // remote to local
  std::uint64_t next_forward_ GUARDED_BY(mutex_) = 1;
};

}  // namespace dstack::ssh
