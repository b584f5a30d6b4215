#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <sys/types.h>

namespace dstack::shim {

// Control groups of one task of the process runtime: one directory per hierarchy in which we may
// make one below our own. On many hosts without an engine that is none, and everything here does
// nothing. Blocks on the kernel only.
class TaskCgroup {
 public:
  // `name` is unique on the host.
  explicit TaskCgroup(const std::string& name);

  // Makes the directories, sets the limits (0: none) as far as the host lets us, and puts the
  // process and its later children in.
  void Enter(pid_t pid, std::uint64_t memory_bytes, std::uint32_t cpu_milli) const;

  // All processes in it and in what the job made below it.
  std::vector<pid_t> Processes() const;

  // SIGKILL to all of them at once, where the kernel can (version 2, from 5.14 on); otherwise
  // nothing happens.
  void Kill() const;

  // Removes the directories and those below; they must be empty of processes.
  void Remove() const;

 private:
  std::vector<std::string> directories_;
};

// Directories of our own control groups: one for version 2, and those of memory and cpu for version
// 1. `mounts` and `own` are the contents of /proc/self/mounts and /proc/self/cgroup.
std::vector<std::string> OwnCgroupDirs(const std::string& mounts, const std::string& own);

}  // namespace dstack::shim
