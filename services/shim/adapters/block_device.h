#pragma once

#include <chrono>
#include <functional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "dstack/shim/v1/task.pb.h"

#include "libs/process/subprocess.h"

namespace dstack::shim {

// Runs a program of the host to its end; process::Run, or a recording for tests.
using ToolRunner =
    std::function<absl::StatusOr<process::RunResult>(const std::vector<std::string>& argv,
                                                     std::chrono::milliseconds timeout,
                                                     const std::stop_token&)>;
ToolRunner RealTools();

struct BlockDeviceSettings {
  ToolRunner run = RealTools();
  // Where device files and their links are; another directory for tests.
  std::string dev_dir = "/dev";
  // How long a disk that was just attached may take to show, and how often is looked.
  std::chrono::milliseconds find_limit = std::chrono::seconds(30);
  std::chrono::milliseconds find_pause = std::chrono::milliseconds(500);
  // Between the looks at a disk that seems empty.
  std::chrono::milliseconds probe_pause = std::chrono::seconds(1);
};

// Disks by the names that clouds give them, what is on them, and file systems. Calls block.
class BlockDevices {
 public:
  explicit BlockDevices(BlockDeviceSettings settings) : settings_(std::move(settings)) {}

  // Path of the device of a volume, a partition when the disk has some. NOT_FOUND when it does not
  // show within the limit.
  absl::StatusOr<std::string> Find(const v1::VolumeMount& volume,
                                   const std::stop_token& stop) const;

  // Type of the file system ("ext4"); empty only when the device provably holds nothing: four looks
  // of blkid(8) find nothing and none of the places that are read holds anything but zeros. An
  // error when it holds something that is no file system.
  absl::StatusOr<std::string> FileSystemOf(const std::string& device,
                                           const std::stop_token& stop) const;

  // Makes an ext4 file system. To be called only after FileSystemOf() said that it is empty, with
  // the device locked meanwhile.
  absl::Status Format(const std::string& device, const std::stop_token& stop) const;

  // Lets the file system of an unmounted device grow to the device's size. Does nothing when it has
  // that size, or is of a kind that does not grow this way.
  absl::Status GrowUnmounted(const std::string& device,
                             const std::string& type,
                             const std::stop_token& stop) const;

 private:
  absl::StatusOr<std::string> Run(const std::vector<std::string>& argv,
                                  std::chrono::milliseconds timeout,
                                  const std::stop_token& stop) const;
  absl::StatusOr<std::string> FindAws(const v1::VolumeMount& volume,
                                      const std::stop_token& stop) const;
  absl::StatusOr<std::string> FindOnce(const v1::VolumeMount& volume,
                                       const std::stop_token& stop) const;
  absl::StatusOr<std::string> Probe(const std::string& device, const std::stop_token& stop) const;
  absl::Status Pause(std::chrono::milliseconds duration, const std::stop_token& stop) const;

  const BlockDeviceSettings settings_;
};

// Name of the disk with this serial number in the output of `lsblk -o NAME,SERIAL`; empty when
// there is none. The volume vol-0a1 has the serial vol0a1.
std::string AwsDiskOf(std::string_view lsblk, std::string_view volume_id);

// OK when all that is read of the device is zero: its beginning, its end, and places between.
absl::Status CheckZeros(const std::string& device);

// Size in bytes of a block device (or, for tests, of a file).
absl::StatusOr<std::uint64_t> DeviceSize(const std::string& device);

}  // namespace dstack::shim
