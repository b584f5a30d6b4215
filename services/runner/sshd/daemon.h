#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <string>

#include <sys/types.h>

#include "libs/base/backoff.h"
#include "libs/base/file.h"
#include "libs/base/random.h"
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
    std::string state_dir;   // for host key and configuration; others can look into it
    // Instead, where that one cannot be made and there is no directory for temporary files.
    std::string private_dir;
    std::string authorized_keys;
    std::uint16_t port = 0;  // 0: a free one of 127.0.0.1
    // The container's passwd and shadow may be changed so that the job's user can log in.
    bool may_change_system = false;
  };
  using OnListening = std::function<void(std::uint16_t port, const std::string& host_key)>;

  // References outlive the object. `on_listening` is called once logins are possible.
  SshDaemon(EventLoop& loop, Settings settings, RunnerLog& log, OnListening on_listening);
  ~SshDaemon();

  // What the job decides.
  struct Access {
    JobUser user;
    // Of every session.
    Environment environment;
    // OpenSSH form; empty: one is made.
    std::string host_private_key;
    // Besides those of the settings: lines of authorized_keys.
    std::string authorized_keys;
  };

  // Returns at once. From now on sshd is started again, on the same port, whenever it dies.
  void Start(Access access);
  // Ends sshd and, with it, its sessions.
  void Stop();
  // True when the process was sshd (or the tool that makes its key).
  bool OnChildExit(pid_t pid, int wait_status);

  // Of sshd, or of the tool that makes its key; -1 while there is none.
  pid_t pid() const { return pid_; }

 private:
  enum class Phase { kIdle, kMakingKey, kStarting, kListening, kRestarting, kStopped };

  void MakeHostKey();
  void StartDaemon();
  void Restart();
  absl::Status PrepareUsers();
  absl::Status WriteHostKey();
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
  Access access_;
  // The system's account files cannot be used, sshd reads those in the state directory.
  bool has_own_accounts_ = false;
  std::string state_dir_;
  base::SeededRandom random_;
  base::Backoff backoff_;
  EventLoop::TimerId restart_ = EventLoop::kNoTimer;
  std::uint16_t port_ = 0;
  int attempts_ = 0;
  bool has_listened_ = false;
  pid_t pid_ = -1;
  base::UniqueFd output_;
  std::string partial_line_;
  std::deque<std::string> last_lines_;
};

}  // namespace dstack::runner
