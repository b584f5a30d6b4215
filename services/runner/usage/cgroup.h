#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace dstack::runner {

// Where the cgroup of a process shows itself, for version 1 and 2.
struct CgroupFiles {
  // Directory of the memory controller (v1) or the one directory (v2); empty where there is none.
  std::string memory;
  // Directory of cpuacct (v1) or the one directory (v2).
  std::string cpu;
  // Directory of blkio (v1) or the one directory (v2).
  std::string io;
  bool is_v2 = false;
};

// From the content of /proc/self/mountinfo and /proc/self/cgroup. In a container either may name
// the cgroup from the host's point of view; what the mount shows of it is what counts. Pure.
CgroupFiles FindCgroup(std::string_view mountinfo, std::string_view cgroup);
// Of this process.
CgroupFiles FindOwnCgroup();

// Bytes that a cgroup read from and wrote to disks.
struct DiskBytes {
  std::uint64_t read = 0;
  std::uint64_t written = 0;
};
// From the content of io.stat ("8:0 rbytes=1 wbytes=2 ...", version 2) or of
// blkio.throttle.io_service_bytes ("8:0 Read 1", version 1). Lines of another form are left out.
DiskBytes ParseIoStat(std::string_view content, bool is_v2);

// Value of "key number" in a flat keyed file such as memory.stat.
std::optional<std::uint64_t> ReadKey(const std::string& path, std::string_view key);
// The number that a file consists of; nothing for "max".
std::optional<std::uint64_t> ReadNumber(const std::string& path);

}  // namespace dstack::runner
