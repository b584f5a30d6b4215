#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <sys/types.h>

#include "dstack/shim/v1/task.pb.h"

#include "services/shim/domain/shim_home.h"
#include "services/shim/domain/task_spec.h"
#include "services/shim/ports/container_runtime.h"

namespace dstack::shim {

// Files of a task that are not its record. All functions may be repeated; they block on the disk.
// Nothing here has to survive a power loss: the container does not survive it either, and a task
// without a container gets its files again.
class TaskDirectory {
 public:
  // The directories are given to the user and group that own the home, so that the account through
  // which the server forwards can reach the runner's socket.
  TaskDirectory(ShimHome home, uid_t owner, gid_t group);

  const ShimHome& home() const { return home_; }
  uid_t owner() const { return owner_; }
  gid_t group() const { return group_; }

  // The runner's directory with token, keys and limits.
  absl::Status Prepare(const v1::TaskSpec& spec) const;

  // Makes the host directories of the mounts that are absent (mode 0777, parents 0755). Returns the
  // mounts that can be made, with their host paths free of symbolic links; optional ones that
  // cannot are left out. A path that leads to what the host protects is refused.
  absl::StatusOr<std::vector<v1::BindMount>> PrepareMounts(const v1::TaskSpec& spec,
                                                           const HostAbilities& host) const;

  // Ports of the host's loopback that the runner has taken by itself; empty as long as it has not.
  std::vector<std::uint16_t> RunnerPorts(const std::string& task_id) const;

  // For a job without a command of its own.
  absl::Status WriteImageConfig(const std::string& task_id, const ImageConfig& config) const;

  // How long the supervisor lets the job's processes end after SIGTERM.
  absl::Status WriteStopGrace(const std::string& task_id, std::chrono::milliseconds grace) const;

  // The runner has recorded how the job's command ended.
  bool HasJobEnded(const std::string& task_id) const;

 private:
  absl::Status Own(const std::string& path, const v1::TaskSpec& spec) const;
  absl::Status WriteFile(const std::string& path, std::string_view bytes) const;
  absl::Status LinkShortName(const std::string& task_id) const;

  const ShimHome home_;
  const uid_t owner_;
  const gid_t group_;
};

}  // namespace dstack::shim
