#include "libs/process/reaper.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <thread>
#include <utility>

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libs/base/status.h"
#include "libs/process/proc_stat.h"

namespace dstack::process {
namespace {

constexpr std::chrono::milliseconds kKillPause{5};
bool Contains(const std::vector<pid_t>& pids, pid_t pid) {
  return std::find(pids.begin(), pids.end(), pid) != pids.end();
}

// Below `root`, without the subtrees that begin in `keep`.
std::vector<ProcessEntry> Descendants(pid_t root, const std::vector<pid_t>& keep) {
  const std::vector<ProcessEntry> all = ListProcesses();
  std::vector<ProcessEntry> tree;
  std::vector<pid_t> parents = {root};
  while (!parents.empty()) {
    std::vector<pid_t> next;
    for (const ProcessEntry& process : all) {
      if (!Contains(parents, process.parent) || Contains(keep, process.pid)) continue;
      tree.push_back(process);
      next.push_back(process.pid);
    }
    parents = std::move(next);
  }
  return tree;
}

}  // namespace

absl::Status BecomeSubreaper() {
  if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0) {
    return base::ErrnoError(errno, "becoming a subreaper");
  }
  return absl::OkStatus();
}

std::vector<Reaped> ReapOrphans(const std::vector<pid_t>& keep) {
  std::vector<Reaped> reaped;
  // By pid and not by P_ALL: waitid(P_ALL, WNOWAIT) shows the same kept child again and again.
  for (const pid_t child : ChildrenOf(getpid())) {
    if (Contains(keep, child)) continue;
    siginfo_t info{};
    if (waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOHANG) != 0) continue;
    if (info.si_pid != child) continue;
    const bool exited = info.si_code == CLD_EXITED;
    reaped.push_back({child, {exited ? info.si_status : 0, exited ? 0 : info.si_status}});
  }
  return reaped;
}

std::vector<pid_t> ChildrenOf(pid_t pid) {
  std::vector<pid_t> children;
  for (const ProcessEntry& process : ListProcesses()) {
    if (process.parent == pid) children.push_back(process.pid);
  }
  return children;
}

std::vector<pid_t> DescendantsOf(pid_t pid) {
  std::vector<pid_t> pids;
  for (const ProcessEntry& process : Descendants(pid, {})) pids.push_back(process.pid);
  return pids;
}

absl::Status KillDescendants(pid_t pid,
                             base::MonotonicTime deadline,
                             const std::vector<pid_t>& keep) {
  while (true) {
    std::size_t living = 0;
    for (const ProcessEntry& process : Descendants(pid, keep)) {
      if (process.has_ended()) continue;
      ++living;
      kill(process.pid, SIGKILL);
    }
    ReapOrphans(keep);
    if (living == 0) return absl::OkStatus();
    if (std::chrono::steady_clock::now() >= deadline) {
      return absl::DeadlineExceededError(
          base::ToAbsl(fmt::format("{} processes below {} survive SIGKILL", living, pid)));
    }
    std::this_thread::sleep_for(kKillPause);
  }
}

}  // namespace dstack::process
