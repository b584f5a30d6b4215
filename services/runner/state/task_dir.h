#pragma once

#include <optional>
#include <string>
#include <string_view>

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <google/protobuf/message_lite.h>

#include "dstack/common/v1/log.pb.h"

#include "libs/base/file.h"

namespace dstack::runner {

// Files of one task. The directory is on the host's disk and mounted into the container, so that it
// outlives both. Who writes what: see the README.
class TaskDir {
 public:
  explicit TaskDir(std::string root) : root_(std::move(root)) {}

  const std::string& root() const { return root_; }
  std::string Token() const { return Path("token"); }
  std::string Job() const { return Path("job.pb"); }
  std::string Started() const { return Path("started"); }
  std::string Exit() const { return Path("exit.pb"); }
  std::string Status() const { return Path("status.pb"); }
  std::string Acked() const { return Path("acked.pb"); }
  std::string EndAcked() const { return Path("end_acked"); }
  std::string Epoch() const { return Path("epoch"); }
  std::string Files() const { return Path("files"); }
  std::string ImageConfig() const { return Path("image_config.json"); }
  std::string StopGrace() const { return Path("stop_grace"); }
  std::string SupervisorExit() const { return Path("supervisor_exit"); }
  std::string AuthorizedKeys() const { return Path("authorized_keys"); }
  std::string SupervisorLock() const { return Path("supervisor.lock"); }
  std::string ServeLock() const { return Path("serve.lock"); }
  std::string Spools() const { return Path("spool"); }
  // Directory of one source's spool: spool/job or spool/runner.
  std::string Spool(common::v1::LogSource source) const;
  std::string Path(std::string_view name) const { return base::JoinPath(root_, name); }

 private:
  std::string root_;
};

// Nothing when there is no such file. A file that cannot be parsed is an error.
absl::StatusOr<bool> LoadProto(const std::string& path, google::protobuf::MessageLite* message);

// Replaces the file (mode 0600) so that it survives a power loss.
absl::Status SaveProto(const std::string& path, const google::protobuf::MessageLite& message);

// Replaces the file (mode 0600) without waiting for the disk: for what a crash of our processes
// must not lose, but a power loss may, since the container is gone then.
absl::Status SaveFast(const std::string& path, std::string_view bytes);

// Takes the lock file, waiting up to `wait_ms`. Held while the descriptor is open, and given back
// by the kernel when its process dies. UNAVAILABLE when somebody else holds it.
absl::StatusOr<base::UniqueFd> LockFile(const std::string& path, int wait_ms);

}  // namespace dstack::runner
