#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

namespace dstack::process {

// One process as /proc/<pid>/stat shows it.
struct ProcessEntry {
  pid_t pid = 0;
  pid_t parent = 0;
  char state = '?';
  pid_t group = 0;
  std::uint64_t start_ticks = 0;  // since boot

  // A zombie has, although it is still there.
  bool has_ended() const { return state == 'Z' || state == 'X'; }
};

// Content of /proc/<pid>/stat; nothing when it cannot be parsed. The program's name may hold
// anything, also ") Z 1". Pure.
std::optional<ProcessEntry> ParseStat(std::string_view stat);

// Nothing when there is no such process.
std::optional<ProcessEntry> FindProcess(pid_t pid);

// All processes that /proc shows. Quick, since it has to outrun those that fork.
std::vector<ProcessEntry> ListProcesses(const std::string& proc = "/proc");

}  // namespace dstack::process
