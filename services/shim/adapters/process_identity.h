#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <sys/types.h>

#include "libs/base/file.h"

namespace dstack::shim {

// A process that cannot be mistaken for another one with the same pid: the kernel gives a pid
// again, but never with the same start time of the same boot.
struct ProcessIdentity {
  pid_t pid = 0;
  std::uint64_t start_ticks = 0;  // since boot, field 22 of /proc/<pid>/stat
  std::string boot_id;

  bool operator==(const ProcessIdentity&) const = default;
};

// Nothing when there is no such process.
std::optional<ProcessIdentity> IdentifyProcess(pid_t pid);

// It exists and has not ended (a zombie has).
bool IsAlive(const ProcessIdentity& identity);

// A descriptor that becomes readable when the process ends; closed when it has ended already.
base::UniqueFd OpenPidFd(const ProcessIdentity& identity);

// Pids of all processes whose environment has the entry "NAME=value", as it was at their exec.
std::vector<pid_t> ProcessesWithEnv(const std::string& entry);

// What follows "<prefix>" in the environment entries of all processes that begin with it; each once.
std::set<std::string> EnvSuffixes(const std::string& prefix);

// Sends SIGKILL to the process and to all that descend from it, the descendants first and while the
// process is held by SIGSTOP, so that none escapes by being orphaned. Returns when they have ended,
// or after some seconds.
void KillProcessTree(const ProcessIdentity& identity);

}  // namespace dstack::shim
