#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace dstack::shim {

// Bytes in two directions since some beginning.
struct ByteCounters {
  std::uint64_t in = 0;   // received, read
  std::uint64_t out = 0;  // sent, written

  bool operator==(const ByteCounters&) const = default;
};

// Sum over the interfaces of /proc/<pid>/net/dev that `is_counted` takes.
ByteCounters ParseNetDev(std::string_view net_dev,
                         const std::function<bool(std::string_view name)>& is_counted);

// Sum over the devices of /proc/diskstats that `is_counted` takes.
ByteCounters ParseDiskstats(std::string_view diskstats,
                            const std::function<bool(std::string_view name)>& is_counted);

// What a control group has used.
struct GroupUsage {
  std::uint64_t cpu_micros = 0;
  // Without the file caches that the kernel would drop first.
  std::uint64_t memory_bytes = 0;
  ByteCounters disk;

  bool operator==(const GroupUsage&) const = default;
};

// Where a process is in the hierarchies of control groups, from the text of /proc/<pid>/cgroup.
// Empty: not in that hierarchy.
struct GroupPaths {
  std::string unified;  // version 2
  std::string cpu;      // version 1, controller cpuacct
  std::string memory;
  std::string blkio;

  bool operator==(const GroupPaths&) const = default;
};
GroupPaths ParseGroupPaths(std::string_view proc_cgroup);

// Reads what the groups have used, on version 1, version 2 and a mix of both, from files below
// `root` (empty for the host itself). What a kernel does not count stays 0; nothing when none of
// the groups is there.
std::optional<GroupUsage> ReadGroupUsage(const std::string& root, const GroupPaths& paths);

}  // namespace dstack::shim
