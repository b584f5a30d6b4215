#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "dstack/shim/v1/task.pb.h"

#include "libs/base/mutex.h"
#include "services/shim/adapters/block_device.h"

namespace dstack::shim {

struct VolumeStoreSettings {
  std::string mount_root;  // disks are mounted below it by their names
  std::string state_file;  // names of those that the shim has mounted
  BlockDeviceSettings devices;
};

// Disks that are mounted while tasks use them. A task holds a volume from Attach() to Release();
// the last one unmounts it. Looking, formatting and mounting happen under an exclusive lock of the
// device's file, which other programs of the host respect too. Thread-safe; calls block.
class VolumeStore {
 public:
  explicit VolumeStore(VolumeStoreSettings settings);

  // Once, before any other call: what live tasks hold, by task id. Others that an earlier process
  // has mounted are unmounted.
  void Restore(const std::vector<std::pair<std::string, std::string>>& held);

  // Returns the directory of the host.
  absl::StatusOr<std::string> Attach(const std::string& task_id,
                                     const v1::VolumeMount& volume,
                                     const std::stop_token& stop);
  // Of all volumes of the task. An error names those that stay mounted; Retry() sees to them.
  absl::Status Release(const std::string& task_id);
  // Unmounts what nobody holds and could not be unmounted before.
  absl::Status Retry();

 private:
  absl::StatusOr<std::string> Mount(const v1::VolumeMount& volume,
                                    const std::string& directory,
                                    const std::stop_token& stop);
  absl::Status MountDevice(const v1::VolumeMount& volume,
                           const std::string& device,
                           const std::string& directory,
                           const std::stop_token& stop);
  absl::Status Unmount(const std::string& name);
  absl::Status UnmountAll(const std::vector<std::string>& names);
  // Takes the volume for the task, once nobody else works at it. True when it was not on record
  // before. An error: it is not on record now and must not be mounted.
  absl::StatusOr<bool> Claim(const std::string& task_id, const std::string& name);
  void GiveUp(const std::string& task_id, const std::string& name) REQUIRES(mutex_);
  std::string DirectoryOf(const std::string& name) const;
  absl::Status SaveNames() const REQUIRES(mutex_);
  // A name too many does no harm.
  void ForgetName(const std::string& name) REQUIRES(mutex_);

  const VolumeStoreSettings settings_;
  const BlockDevices devices_;
  base::Mutex mutex_;
  base::CondVar changed_;
  std::map<std::string, std::set<std::string>> users_ GUARDED_BY(mutex_);  // by volume
  // Volumes that some thread mounts or unmounts now; others wait.
  std::set<std::string> busy_ GUARDED_BY(mutex_);
  std::set<std::string> mounted_ GUARDED_BY(mutex_);
};

// The source of what is mounted at a directory, by the text of /proc/self/mountinfo: "major:minor",
// empty when nothing is.
std::string MountedDevice(std::string_view mountinfo, std::string_view directory);

}  // namespace dstack::shim
