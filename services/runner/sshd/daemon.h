#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <string>

#include <sys/types.h>

#include "libs/base/file.h"
#include "services/runner/domain/job_env.h"
#include "services/runner/job/user_lookup.h"
#include "services/runner/loop/event_loop.h"
#include "services/runner/supervise/runner_log.h"

namespace dstack::runner {

// The container's sshd: a copy of OpenSSH that comes with us, its own loader and libraries
// included, so that it runs in any image. Without it the job runs just the same: whatever goes
// wrong here is a line in the runner's log. Lives on the loop's thread.
class SshDaemon {
 public:
  struct Settings {
    std::string bundle_dir;  // empty: no sshd
    std::string state_dir;   // for host key and configuration, mode 0700
    std::string authorized_keys;
    std::uint16_t port = 0;  // 0: a free one of 127.0.0.1
    // The container's passwd and shadow may be changed so that the job's user can log in.
    bool may_change_system = false;
  };
  using OnListening = std::function<void(std::uint16_t port, const std::string& host_key)>;

  // References outlive the object. `on_listening` is called once logins are possible.
  SshDaemon(EventLoop& loop, Settings settings, RunnerLog& log, OnListening on_listening);
  ~SshDaemon();

  // Sessions get the job's environment. Returns at once.
  void Start(const JobUser& user, const Environment& environment);
  // Ends sshd and, with it, its sessions.
  void Stop();
  // True when the process was sshd (or the tool that makes its key).
  bool OnChildExit(pid_t pid, int wait_status);

  // Of sshd, or of the tool that makes its key; -1 while there is none.
  pid_t pid() const { return pid_; }

 private:
  enum class Phase { kIdle, kMakingKey, kStarting, kListening, kStopped };

  void MakeHostKey();
  void StartDaemon();
  absl::Status WriteConfig();
  absl::Status Spawn(const std::string& program, const std::vector<std::string>& args);
  void OnOutput();
  void OnLine(std::string_view line);
  void GiveUp(std::string_view why);

  EventLoop& loop_;
  const Settings settings_;
  RunnerLog& log_;
  const OnListening on_listening_;
  Phase phase_ = Phase::kIdle;
  JobUser user_;
  Environment environment_;
  std::uint16_t port_ = 0;
  int attempts_ = 0;
  pid_t pid_ = -1;
  base::UniqueFd output_;
  std::string partial_line_;
  std::deque<std::string> last_lines_;
};

}  // namespace dstack::runner
