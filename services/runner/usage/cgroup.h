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
  bool is_v2 = false;
};

// From the content of /proc/self/mountinfo and /proc/self/cgroup. In a container either may name
// the cgroup from the host's point of view; what the mount shows of it is what counts. Pure.
CgroupFiles FindCgroup(std::string_view mountinfo, std::string_view cgroup);
// Of this process.
CgroupFiles FindOwnCgroup();

// Value of "key number" in a flat keyed file such as memory.stat.
std::optional<std::uint64_t> ReadKey(const std::string& path, std::string_view key);
// The number that a file consists of; nothing for "max".
std::optional<std::uint64_t> ReadNumber(const std::string& path);

}  // namespace dstack::runner
