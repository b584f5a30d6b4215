#pragma once

#include <set>
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

// Direct children of a process, zombies too. Empty when it is gone.
std::vector<pid_t> ChildrenOf(pid_t pid);

// Its direct children that live and are not in `keep`. Where nobody waits for its children at the
// same time and the kernel tells them (CONFIG_PROC_CHILDREN), and `pid` is a subreaper, an empty
// answer means that nothing below it lives, however quickly those processes start others and end;
// a list of processes, as DescendantsOf makes it, can miss them all.
std::vector<pid_t> LiveChildrenOf(pid_t pid, const std::set<pid_t>& keep);

// All descendants, parents before children. A snapshot: a tree that forks meanwhile may have more.
std::vector<pid_t> DescendantsOf(pid_t pid);

}  // namespace dstack::process
