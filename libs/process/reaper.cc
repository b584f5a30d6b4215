#include "libs/process/reaper.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include <dirent.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/base/status.h"

namespace dstack::process {
namespace {

constexpr std::chrono::milliseconds kKillPause{5};
constexpr std::size_t kStatLimitBytes = 4096;

struct Parentage {
  pid_t pid;
  pid_t parent;
  bool zombie;
};

// Fields of /proc/<pid>/stat follow the last ')': the name may hold anything.
bool ParseStat(std::string_view stat, Parentage& out) {
  const std::size_t name_end = stat.rfind(')');
  if (name_end == std::string_view::npos || name_end + 4 > stat.size()) return false;
  out.zombie = stat[name_end + 2] == 'Z' || stat[name_end + 2] == 'X';
  stat.remove_prefix(name_end + 4);
  return std::from_chars(stat.data(), stat.data() + stat.size(), out.parent).ec == std::errc();
}

std::vector<Parentage> AllProcesses() {
  std::vector<Parentage> all;
  DIR* proc = opendir("/proc");
  if (proc == nullptr) return all;
  while (const dirent* entry = readdir(proc)) {  // NOLINT(concurrency-mt-unsafe): own stream
    const std::string_view name = entry->d_name;
    Parentage process{};
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), process.pid);
    if (error != std::errc() || end != name.data() + name.size()) continue;
    const auto stat = base::ReadFile("/proc/" + std::string(name) + "/stat", kStatLimitBytes);
    if (stat.ok() && ParseStat(*stat, process)) all.push_back(process);
  }
  closedir(proc);
  return all;
}

bool Contains(const std::vector<pid_t>& pids, pid_t pid) {
  return std::find(pids.begin(), pids.end(), pid) != pids.end();
}

// Below `root`, without the subtrees that begin in `keep`.
std::vector<Parentage> Descendants(pid_t root, const std::vector<pid_t>& keep) {
  const std::vector<Parentage> all = AllProcesses();
  std::vector<Parentage> tree;
  std::vector<pid_t> parents = {root};
  while (!parents.empty()) {
    std::vector<pid_t> next;
    for (const Parentage& process : all) {
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
  for (const Parentage& process : AllProcesses()) {
    if (process.parent == pid) children.push_back(process.pid);
  }
  return children;
}

std::vector<pid_t> DescendantsOf(pid_t pid) {
  std::vector<pid_t> pids;
  for (const Parentage& process : Descendants(pid, {})) pids.push_back(process.pid);
  return pids;
}

absl::Status KillDescendants(pid_t pid,
                             base::MonotonicTime deadline,
                             const std::vector<pid_t>& keep) {
  while (true) {
    std::size_t living = 0;
    for (const Parentage& process : Descendants(pid, keep)) {
      if (process.zombie) continue;
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
