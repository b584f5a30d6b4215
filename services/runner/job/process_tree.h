#pragma once

#include <cstddef>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

#include "libs/process/proc_stat.h"

namespace dstack::runner {

// The live processes of the job, zombies left out: as the first process of a pid namespace all of
// it, otherwise the descendants of `self` (which is a subreaper, so that a daemon that has left its
// parent is one too). `self` and the trees below `not_ours` do not belong to it. Pure.
std::vector<pid_t> JobProcesses(const std::vector<process::ProcessEntry>& processes,
                                pid_t self,
                                const std::set<pid_t>& not_ours);

// The live processes of the job at this moment. Empty only when there are none, as far as
// process::LiveChildrenOf promises that of `self`, which is the calling process.
std::vector<pid_t> FindJobProcesses(pid_t self,
                                    const std::set<pid_t>& not_ours,
                                    const std::string& proc = "/proc");

// The process groups whose members are all in `pids`. A signal to a group reaches a member's child
// even when it is being made at that moment, which no list of processes does. Pure.
std::vector<pid_t> WholeGroups(const std::vector<process::ProcessEntry>& processes,
                               const std::vector<pid_t>& pids);

// SIGKILL to everything that JobProcesses finds, whole groups first. Looks again at once as long as
// there are new ones: something that forks is only outrun without a pause. Returns how many
// processes it saw; those may take a moment to be gone.
std::size_t KillTree(pid_t self, const std::set<pid_t>& not_ours);

// True when a process with this content of /proc/<pid>/status ignores the signal, so that it
// neither dies of it nor has a handler (a trap of a shell) for it.
bool IgnoresSignal(std::string_view status, int signal);

// Sends the signal to each; processes that are gone are no error.
void SignalAll(const std::vector<pid_t>& pids, int signal);

}  // namespace dstack::runner
