#pragma once

#include <vector>

#include <absl/status/status.h>
#include <sys/types.h>

#include "libs/process/subprocess.h"

// For programs that look after whole process trees.
namespace dstack::process {

// Orphans of our descendants become our children (PR_SET_CHILD_SUBREAPER) instead of init's.
absl::Status BecomeSubreaper();

struct Reaped {
  pid_t pid;
  Exit exit;
};

// Collects every child that has ended, except those in `keep`, and returns them. Never blocks.
// `keep` names children that somebody else waits for (Subprocess): taking their status away would
// lose it.
std::vector<Reaped> ReapOrphans(const std::vector<pid_t>& keep);

// Direct children of a process, from /proc. Empty when it is gone.
std::vector<pid_t> ChildrenOf(pid_t pid);

// All descendants, parents before children. A snapshot: a tree that forks meanwhile may have more.
std::vector<pid_t> DescendantsOf(pid_t pid);

// Sends SIGKILL to every descendant of `pid` until none is left, new ones included, sparing those
// in `keep` and what is below them. Reaps those that become ours, but for children in `keep`. For a
// subreaper. DEADLINE_EXCEEDED names how many are left.
absl::Status KillDescendants(pid_t pid,
                             base::MonotonicTime deadline,
                             const std::vector<pid_t>& keep = {});

}  // namespace dstack::process
