#include "services/shim/adapters/block_device.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <optional>
#include <utility>

#include <absl/strings/ascii.h>
#include <absl/strings/match.h>
#include <absl/strings/str_split.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libs/base/clock.h"
#include "libs/base/file.h"
#include "libs/base/macros.h"
#include "libs/base/mutex.h"
#include "libs/base/status.h"
#include "libs/telemetry/log.h"

namespace dstack::shim {
namespace {

constexpr std::chrono::seconds kToolTimeout{30};
// A disk of many terabytes; mkfs.ext4 leaves most of its work to the kernel.
constexpr std::chrono::minutes kFormatTimeout{10};
constexpr std::chrono::minutes kCheckTimeout{60};
// blkid(8): nothing was found.
constexpr int kBlkidNothing = 2;
// The first look, and then as many more before a disk counts as empty.
constexpr int kLooks = 4;

constexpr std::uint64_t kHeadBytes = std::uint64_t{16} << 20;
constexpr std::uint64_t kTailBytes = std::uint64_t{1} << 20;
constexpr std::uint64_t kSampleBytes = std::uint64_t{64} << 10;
constexpr std::uint64_t kSamples = 64;

std::string Trim(const std::string& text) {
  return std::string(base::ToStd(absl::StripAsciiWhitespace(text)));
}

std::string RealPath(const std::string& path) {
  const std::unique_ptr<char, decltype(&::free)> real(::realpath(path.c_str(), nullptr), ::free);
  return real ? std::string(real.get()) : std::string();
}

absl::Status CheckZeroRange(int fd,
                            std::uint64_t from,
                            std::uint64_t size,
                            const std::string& name) {
  std::vector<char> buffer(static_cast<std::size_t>(std::min(size, kTailBytes)));
  std::uint64_t at = from;
  while (at < from + size) {
    const std::size_t wanted =
        static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), from + size - at));
    const ssize_t count = ::pread(fd, buffer.data(), wanted, static_cast<off_t>(at));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return base::ErrnoError(errno, name);
    if (count == 0) return absl::OkStatus();
    const bool is_zero =
        std::all_of(buffer.begin(), buffer.begin() + count, [](char c) { return c == 0; });
    if (!is_zero) {
      return absl::FailedPreconditionError(fmt::format(
          "{} has no file system but is not empty (data near byte {}); it is left alone",
          name,
          at));
    }
    at += static_cast<std::uint64_t>(count);
  }
  return absl::OkStatus();
}

// What has to read as zeros before a disk counts as empty.
struct Range {
  std::uint64_t from;
  std::uint64_t size;
};

std::vector<Range> LookedAt(std::uint64_t disk_size) {
  const std::uint64_t tail = disk_size > kTailBytes ? disk_size - kTailBytes : 0;
  std::vector<Range> ranges = {{0, std::min(disk_size, kHeadBytes)}, {tail, disk_size - tail}};
  for (std::uint64_t i = 1; i < kSamples; ++i) {
    const std::uint64_t from = disk_size / kSamples * i;
    ranges.push_back({from, std::min(kSampleBytes, disk_size - from)});
  }
  return ranges;
}

absl::Status WriteZeros(int fd, const Range& range, const std::string& name) {
  const std::vector<char> zeros(static_cast<std::size_t>(std::min(range.size, kTailBytes)));
  for (std::uint64_t at = range.from; at < range.from + range.size;) {
    const auto wanted = static_cast<std::size_t>(
        std::min<std::uint64_t>(zeros.size(), range.from + range.size - at));
    const ssize_t count = ::pwrite(fd, zeros.data(), wanted, static_cast<off_t>(at));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return base::ErrnoError(errno, name);
    at += static_cast<std::uint64_t>(count);
  }
  return absl::OkStatus();
}

// Makes a disk that was found empty count as empty again after a formatting that failed, so that it
// can be formatted later. First what the storage itself can take back, which also makes room on
// thin storage that is full; then zeros where zeros were read before, and nowhere else. Not when
// somebody else has taken the disk meanwhile (O_EXCL).
absl::Status TakeBack(const std::string& device) {
  const base::UniqueFd fd(::open(device.c_str(), O_RDWR | O_EXCL | O_CLOEXEC));
  if (!fd) return base::ErrnoError(errno, device);
  ASSIGN_OR_RETURN(const std::uint64_t size, DeviceSize(device));
  std::array<std::uint64_t, 2> whole{0, size};
  static_cast<void>(::ioctl(fd.get(), BLKDISCARD, whole.data()));
  for (const Range& range : LookedAt(size)) {
    if (CheckZeroRange(fd.get(), range.from, range.size, device).ok()) continue;
    RETURN_IF_ERROR(WriteZeros(fd.get(), range, device));
  }
  return ::fsync(fd.get()) == 0 ? absl::OkStatus() : base::ErrnoError(errno, device);
}

// The value after "name:" in the output of dumpe2fs.
std::uint64_t HeaderField(const std::string& text, std::string_view name) {
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    const std::string_view row = base::ToStd(line);
    if (!row.starts_with(name)) continue;
    const std::string value = Trim(std::string(row.substr(name.size())));
    std::uint64_t number = 0;
    std::from_chars(value.data(), value.data() + value.size(), number);
    return number;
  }
  return 0;
}

}  // namespace

ToolRunner RealTools() {
  return [](const std::vector<std::string>& argv,
            std::chrono::milliseconds timeout,
            const std::stop_token& stop) { return process::Run(argv, timeout, {}, stop); };
}

std::string AwsDiskOf(std::string_view lsblk, std::string_view volume_id) {
  std::string serial(volume_id);
  serial.erase(std::remove(serial.begin(), serial.end(), '-'), serial.end());
  for (const absl::string_view line : absl::StrSplit(base::ToAbsl(lsblk), '\n')) {
    const std::vector<std::string> words =
        absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
    if (words.size() == 2 && words[1] == serial) return words[0];
  }
  return "";
}

absl::StatusOr<std::uint64_t> DeviceSize(const std::string& device) {
  const base::UniqueFd fd(::open(device.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return base::ErrnoError(errno, device);
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return base::ErrnoError(errno, device);
  if (S_ISREG(info.st_mode)) return static_cast<std::uint64_t>(info.st_size);
  std::uint64_t size = 0;
  if (!S_ISBLK(info.st_mode)) {
    return absl::FailedPreconditionError(fmt::format("{} is not a block device", device));
  }
  if (::ioctl(fd.get(), BLKGETSIZE64, &size) != 0) return base::ErrnoError(errno, device);
  return size;
}

absl::Status CheckZeros(const std::string& device) {
  ASSIGN_OR_RETURN(const std::uint64_t size, DeviceSize(device));
  const base::UniqueFd fd(::open(device.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return base::ErrnoError(errno, device);
  for (const Range& range : LookedAt(size)) {
    RETURN_IF_ERROR(CheckZeroRange(fd.get(), range.from, range.size, device));
  }
  return absl::OkStatus();
}

absl::Status BlockDevices::Pause(std::chrono::milliseconds duration,
                                 const std::stop_token& stop) const {
  base::Mutex mutex;
  base::CondVar changed;
  const std::stop_callback wake(stop, [&] {
    base::MutexLock lock(mutex);
    changed.NotifyAll();
  });
  const auto deadline = base::DeadlineIn(duration);
  base::MutexLock lock(mutex);
  while (!stop.stop_requested() && changed.WaitUntil(mutex, deadline)) {
  }
  return stop.stop_requested() ? absl::CancelledError("the task was stopped") : absl::OkStatus();
}

absl::StatusOr<std::string> BlockDevices::Run(const std::vector<std::string>& argv,
                                              std::chrono::milliseconds timeout,
                                              const std::stop_token& stop) const {
  const auto result = settings_.run(argv, timeout, stop);
  if (!result.ok()) return base::Annotate(result.status(), "{}", argv[0]);
  if (result->exit.ok()) return result->stdout_text;
  return absl::FailedPreconditionError(
      fmt::format("{} {}: {}", argv[0], result->exit.ToString(), Trim(result->stderr_text)));
}

absl::StatusOr<std::string> BlockDevices::Find(const v1::VolumeMount& volume,
                                               const std::stop_token& stop) const {
  const auto deadline = base::DeadlineIn(settings_.find_limit);
  while (true) {
    ASSIGN_OR_RETURN(const std::string device, FindOnce(volume, stop));
    if (!device.empty()) {
      // A device node may be there before its size is.
      const auto size = DeviceSize(device);
      if (size.ok() && *size > 0) return device;
      if (absl::IsFailedPrecondition(size.status())) return size.status();
    }
    if (std::chrono::steady_clock::now() > deadline) {
      return absl::NotFoundError(
          fmt::format("volume {}: no disk {} shows on this host",
                      volume.name(),
                      volume.volume_id().empty() ? volume.device_name() : volume.volume_id()));
    }
    RETURN_IF_ERROR(Pause(settings_.find_pause, stop));
  }
}

absl::StatusOr<std::string> BlockDevices::FindOnce(const v1::VolumeMount& volume,
                                                   const std::stop_token& stop) const {
  if (volume.backend() == "aws") return FindAws(volume, stop);
  if (volume.backend() == "gcp") {
    const std::string link =
        fmt::format("{}/disk/by-id/google-{}", settings_.dev_dir, volume.device_name());
    const std::string partition = RealPath(link + "-part1");
    return partition.empty() ? RealPath(link) : partition;
  }
  return RealPath(volume.device_name());
}

absl::StatusOr<std::string> BlockDevices::FindAws(const v1::VolumeMount& volume,
                                                  const std::stop_token& stop) const {
  ASSIGN_OR_RETURN(const std::string list, Run({"lsblk", "-o", "NAME,SERIAL"}, kToolTimeout, stop));
  std::string device;
  if (const std::string name = AwsDiskOf(list, volume.volume_id()); !name.empty()) {
    device = fmt::format("{}/{}", settings_.dev_dir, name);
  } else if (base::Exists(volume.device_name())) {
    device = volume.device_name();
  } else if (volume.device_name().starts_with("/dev/sd")) {
    // Xen calls them so.
    const std::string xen = "/dev/xvd" + volume.device_name().substr(7);
    if (base::Exists(xen)) device = xen;
  }
  if (device.empty()) return device;
  // The disk itself comes first, then its partitions.
  ASSIGN_OR_RETURN(const std::string names,
                   Run({"lsblk", "-ln", "-o", "NAME", "--", device}, kToolTimeout, stop));
  const std::vector<std::string> lines = absl::StrSplit(names, '\n', absl::SkipWhitespace());
  if (lines.size() < 2) return device;
  return fmt::format("{}/{}", settings_.dev_dir, Trim(lines[1]));
}

absl::StatusOr<std::string> BlockDevices::Probe(const std::string& device,
                                                const std::stop_token& stop) const {
  const auto result =
      settings_.run({"blkid", "-p", "-o", "value", "-s", "TYPE", "--", device}, kToolTimeout, stop);
  if (!result.ok()) return base::Annotate(result.status(), "blkid");
  std::string type = Trim(result->stdout_text);
  if (result->exit.ok() && !type.empty()) return type;
  if (result->exit.code == kBlkidNothing && type.empty()) return std::string();
  // A partition table, a part of a RAID, two signatures at once: whatever it is, it is not nothing.
  return absl::FailedPreconditionError(
      fmt::format("{} holds something that is not one file system (blkid {}): {}",
                  device,
                  result->exit.ToString(),
                  Trim(result->stderr_text)));
}

absl::StatusOr<std::string> BlockDevices::FileSystemOf(const std::string& device,
                                                       const std::stop_token& stop) const {
  for (int look = 0; look < kLooks; ++look) {
    if (look > 0) RETURN_IF_ERROR(Pause(settings_.probe_pause, stop));
    ASSIGN_OR_RETURN(const std::string type, Probe(device, stop));
    if (!type.empty()) return type;
  }
  RETURN_IF_ERROR(CheckZeros(device));
  return std::string();
}

absl::Status BlockDevices::Format(const std::string& device, const std::stop_token& stop) const {
  telemetry::Warn("an empty disk gets a file system", {{"device", device}});
  // Never cut off by a stop: half a file system would look like data the next time.
  static_cast<void>(stop);
  absl::Status status = Run({"mkfs.ext4", "-q", "-F", "--", device}, kFormatTimeout, {}).status();
  if (status.ok()) return status;
  if (const absl::Status taken_back = TakeBack(device); !taken_back.ok()) {
    telemetry::Warn("what a failed formatting left stays on the disk",
                    {{"device", device}, {"status", taken_back}});
  }
  return base::Annotate(status, "a file system could not be made");
}

absl::Status BlockDevices::GrowUnmounted(const std::string& device,
                                         const std::string& type,
                                         const std::stop_token& stop) const {
  if (!type.starts_with("ext")) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::string header,
                   Run({"dumpe2fs", "-h", "--", device}, kToolTimeout, stop));
  const std::uint64_t block = HeaderField(header, "Block size:");
  const std::uint64_t blocks = HeaderField(header, "Block count:");
  ASSIGN_OR_RETURN(const std::uint64_t size, DeviceSize(device));
  if (block == 0 || blocks == 0 || size / block <= blocks) return absl::OkStatus();
  telemetry::Info("a disk has grown; its file system follows",
                  {{"device", device}, {"from_bytes", block * blocks}, {"to_bytes", size}});
  // resize2fs wants a checked file system. 1: errors were corrected.
  const auto checked = settings_.run({"e2fsck", "-f", "-p", "--", device}, kCheckTimeout, {});
  if (!checked.ok()) return base::Annotate(checked.status(), "e2fsck");
  if (checked->exit.signal != 0 || checked->exit.code > 1) {
    return absl::FailedPreconditionError(fmt::format(
        "e2fsck {} {}: {}", device, checked->exit.ToString(), Trim(checked->stdout_text)));
  }
  return Run({"resize2fs", "--", device}, kCheckTimeout, {}).status();
}

}  // namespace dstack::shim
