#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "libs/process/subprocess.h"

namespace dstack::ssh {

// An sshd of our own on 127.0.0.1, for logins of this user to this machine. Everything lies in one
// directory: host key, authorized_keys, configuration, pid, port and log. It lives on when this
// process ends and is found again by the next one. Not thread-safe, blocking.
class PrivateSshd {
 public:
  // `directory` is made with mode 0700. `extra_config` is appended to the configuration as it is.
  explicit PrivateSshd(std::string directory, std::string extra_config = "");
  // Leaves it running.
  ~PrivateSshd();
  PrivateSshd(const PrivateSshd&) = delete;
  PrivateSshd& operator=(const PrivateSshd&) = delete;

  // Makes sure that it runs and lets in `authorized_keys` (whole lines; the file is replaced).
  // Finds a living one of this directory or starts one, on the same port as before where that is
  // free. NOT_FOUND names the package when there is no sshd; FAILED_PRECONDITION has the end of its
  // log.
  absl::Status EnsureRunning(const std::vector<std::string>& authorized_keys);

  // Ends it, its open connections too when `cut` is true. OK when it does not run.
  absl::Status Stop(bool cut = true);

  // Known after EnsureRunning().
  std::uint16_t port() const { return port_; }
  // "type base64".
  const std::string& host_key() const { return host_key_; }
  // User that can log in: the one this process runs as.
  const std::string& user() const { return user_; }
  // Of the listening process; 0 when it does not run.
  pid_t pid() const { return pid_; }

 private:
  std::string Path(const char* name) const;
  absl::Status EnsureHostKey();
  absl::Status WriteConfig();
  bool FindRunning();
  absl::Status Start();

  std::string directory_;
  std::string extra_config_;
  std::uint16_t port_ = 0;
  std::string host_key_;
  std::string user_;
  pid_t pid_ = 0;
  // Absent when it was started by an earlier process.
  std::optional<process::Subprocess> child_;
};

}  // namespace dstack::ssh
