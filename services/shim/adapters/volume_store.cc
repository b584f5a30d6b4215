#include "services/shim/adapters/volume_store.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <thread>

#include <absl/strings/str_join.h>
#include <absl/strings/str_split.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/base/macros.h"
#include "libs/base/status.h"
#include "libs/telemetry/log.h"

namespace dstack::shim {
namespace {

// The kernel may hold a file system for a moment after its last container is gone.
constexpr int kUnmountTries = 20;
constexpr std::chrono::milliseconds kUnmountPause{100};
// Root directory of a fresh file system: every user of a container may write.
constexpr mode_t kFreshMode = 0777;

std::string Mountinfo() { return base::ReadFile("/proc/self/mountinfo").value_or(""); }

std::string DeviceNumber(const std::string& device) {
  struct stat info {};
  if (::stat(device.c_str(), &info) != 0) return "";
  return fmt::format("{}:{}", major(info.st_rdev), minor(info.st_rdev));
}

absl::Status UnmountDirectory(const std::string& directory) {
  for (int i = 1;; ++i) {
    if (::umount2(directory.c_str(), UMOUNT_NOFOLLOW) == 0 || errno == EINVAL || errno == ENOENT) {
      return absl::OkStatus();
    }
    const int error = errno;
    if (error != EBUSY || i == kUnmountTries) return base::ErrnoError(error, "umount " + directory);
    std::this_thread::sleep_for(kUnmountPause);
  }
}

std::set<std::string> LoadNames(const std::string& path) {
  std::set<std::string> names;
  const auto text = base::ReadFile(path);
  if (!text.ok()) return names;
  const auto list = nlohmann::json::parse(*text, nullptr, /*allow_exceptions=*/false);
  if (!list.is_array()) return names;
  for (const auto& name : list) {
    if (name.is_string()) names.insert(name.get<std::string>());
  }
  return names;
}

}  // namespace

std::string MountedDevice(std::string_view mountinfo, std::string_view directory) {
  std::string device;
  for (const absl::string_view line : absl::StrSplit(base::ToAbsl(mountinfo), '\n')) {
    // "36 35 98:0 /root /mount/point options ..."; the last one lies on top.
    const std::vector<absl::string_view> fields = absl::StrSplit(line, ' ');
    if (fields.size() > 4 && base::ToStd(fields[4]) == directory) device = std::string(fields[2]);
  }
  return device;
}

VolumeStore::VolumeStore(VolumeStoreSettings settings)
    : settings_(std::move(settings)), devices_(settings_.devices) {}

std::string VolumeStore::DirectoryOf(const std::string& name) const {
  return fmt::format("{}/{}", settings_.mount_root, name);
}

absl::Status VolumeStore::SaveNames() const {
  if (settings_.state_file.empty()) return absl::OkStatus();
  return base::WriteFileAtomic(settings_.state_file, nlohmann::json(mounted_).dump(), 0600);
}

void VolumeStore::ForgetName(const std::string& name) {
  if (mounted_.erase(name) == 0) return;
  if (const absl::Status saved = SaveNames(); !saved.ok()) {
    telemetry::Warn("the list of mounted disks is not on disk", {{"status", saved}});
  }
}

void VolumeStore::Restore(const std::vector<std::pair<std::string, std::string>>& held) {
  {
    base::MutexLock lock(mutex_);
    for (const auto& [task_id, name] : held) users_[name].insert(task_id);
    mounted_ = LoadNames(settings_.state_file);
  }
  if (const absl::Status status = Retry(); !status.ok()) {
    telemetry::Error("a disk stays mounted", {{"status", status}});
  }
}

absl::Status VolumeStore::Retry() {
  std::vector<std::string> unused;
  {
    base::MutexLock lock(mutex_);
    for (const std::string& name : mounted_) {
      if (!users_.contains(name)) unused.push_back(name);
    }
  }
  return UnmountAll(unused);
}

absl::StatusOr<bool> VolumeStore::Claim(const std::string& task_id, const std::string& name) {
  base::MutexLock lock(mutex_);
  while (busy_.contains(name)) changed_.Wait(mutex_);
  // Before the mount: what a crash leaves is found by this.
  const bool is_new = mounted_.insert(name).second;
  if (is_new) {
    if (absl::Status saved = SaveNames(); !saved.ok()) {
      mounted_.erase(name);
      return saved;
    }
  }
  busy_.insert(name);
  users_[name].insert(task_id);
  return is_new;
}

void VolumeStore::GiveUp(const std::string& task_id, const std::string& name) {
  users_[name].erase(task_id);
  if (users_[name].empty()) users_.erase(name);
}

absl::StatusOr<std::string> VolumeStore::Attach(const std::string& task_id,
                                                const v1::VolumeMount& volume,
                                                const std::stop_token& stop) {
  const std::string& name = volume.name();
  const absl::StatusOr<bool> is_new = Claim(task_id, name);
  if (!is_new.ok()) return base::Annotate(is_new.status(), "volume {}", name);
  auto mounted = Mount(volume, DirectoryOf(name), stop);
  base::MutexLock lock(mutex_);
  busy_.erase(name);
  changed_.NotifyAll();
  if (mounted.ok()) return mounted;
  GiveUp(task_id, name);
  if (*is_new) {
    // What is mounted there, if anything, was not mounted here. Only an empty directory goes.
    ::rmdir(DirectoryOf(name).c_str());
    ForgetName(name);
  }
  return base::Annotate(mounted.status(), "volume {}", name);
}

absl::StatusOr<std::string> VolumeStore::Mount(const v1::VolumeMount& volume,
                                               const std::string& directory,
                                               const std::stop_token& stop) {
  ASSIGN_OR_RETURN(const std::string device, devices_.Find(volume, stop));
  if (const std::string there = MountedDevice(Mountinfo(), directory); !there.empty()) {
    if (there == DeviceNumber(device)) return directory;
    return absl::FailedPreconditionError(
        fmt::format("another device ({}) is mounted at {}", there, directory));
  }
  RETURN_IF_ERROR(base::MakeDirs(directory, 0755));
  // Advisory, as udev and the tools of systemd take it.
  const base::UniqueFd lock(::open(device.c_str(), O_RDONLY | O_CLOEXEC));
  if (!lock) return base::ErrnoError(errno, device);
  while (::flock(lock.get(), LOCK_EX) != 0) {
    if (errno != EINTR) return base::ErrnoError(errno, "lock " + device);
  }
  RETURN_IF_ERROR(MountDevice(volume, device, directory, stop));
  return directory;
}

absl::Status VolumeStore::MountDevice(const v1::VolumeMount& volume,
                                      const std::string& device,
                                      const std::string& directory,
                                      const std::stop_token& stop) {
  ASSIGN_OR_RETURN(std::string type, devices_.FileSystemOf(device, stop));
  const bool is_fresh = type.empty();
  if (is_fresh && !volume.may_format()) {
    return absl::FailedPreconditionError(fmt::format(
        "{} has no file system, and a volume that was not made here is never formatted", device));
  }
  if (is_fresh) {
    RETURN_IF_ERROR(devices_.Format(device, stop));
    type = "ext4";
  } else if (const absl::Status grown = devices_.GrowUnmounted(device, type, stop); !grown.ok()) {
    // The old size still serves.
    telemetry::Warn("a file system did not grow", {{"volume", volume.name()}, {"status", grown}});
  }
  if (::mount(device.c_str(), directory.c_str(), type.c_str(), MS_NOSUID | MS_NODEV, nullptr) !=
      0) {
    return base::ErrnoError(errno, fmt::format("mount {} ({}) at {}", device, type, directory));
  }
  if (is_fresh && ::chmod(directory.c_str(), kFreshMode) != 0) {
    absl::Status status = base::ErrnoError(errno, "chmod " + directory);
    static_cast<void>(UnmountDirectory(directory).ok());
    return status;
  }
  return absl::OkStatus();
}

absl::Status VolumeStore::Release(const std::string& task_id) {
  std::vector<std::string> idle;
  {
    base::MutexLock lock(mutex_);
    for (auto it = users_.begin(); it != users_.end();) {
      it->second.erase(task_id);
      if (it->second.empty()) idle.push_back(it->first);
      it = it->second.empty() ? users_.erase(it) : std::next(it);
    }
  }
  return UnmountAll(idle);
}

absl::Status VolumeStore::UnmountAll(const std::vector<std::string>& names) {
  std::vector<std::string> errors;
  for (const std::string& name : names) {
    if (const absl::Status status = Unmount(name); !status.ok()) {
      errors.emplace_back(base::Message(status));
    }
  }
  return errors.empty() ? absl::OkStatus() : absl::UnavailableError(absl::StrJoin(errors, "; "));
}

absl::Status VolumeStore::Unmount(const std::string& name) {
  {
    base::MutexLock lock(mutex_);
    while (busy_.contains(name)) changed_.Wait(mutex_);
    // Somebody came meanwhile.
    if (users_.contains(name)) return absl::OkStatus();
    busy_.insert(name);
  }
  const std::string directory = DirectoryOf(name);
  absl::Status status = UnmountDirectory(directory);
  // Only an empty directory goes.
  if (status.ok()) ::rmdir(directory.c_str());
  base::MutexLock lock(mutex_);
  busy_.erase(name);
  changed_.NotifyAll();
  if (status.ok()) ForgetName(name);
  return status;
}

}  // namespace dstack::shim
