#include "libs/process/reaper.h"

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include <absl/strings/numbers.h>
#include <absl/strings/str_split.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/base/status.h"
#include "libs/process/proc_stat.h"

namespace dstack::process {
namespace {

bool Contains(const std::vector<pid_t>& pids, pid_t pid) {
  return std::find(pids.begin(), pids.end(), pid) != pids.end();
}

// As the kernel tells them, by thread; nothing where it does not.
std::optional<std::vector<pid_t>> ToldChildren(pid_t pid) {
  static const bool kIsTold = base::Exists("/proc/thread-self/children");
  if (!kIsTold) return std::nullopt;
  std::vector<pid_t> children;
  std::error_code gone;
  const std::filesystem::path threads = fmt::format("/proc/{}/task", pid);
  for (std::filesystem::directory_iterator thread(threads, gone), end; !gone && thread != end;
       thread.increment(gone)) {
    const auto text = base::ReadFile(thread->path() / "children");
    if (!text.ok()) continue;  // it ended
    for (const absl::string_view word : absl::StrSplit(*text, ' ', absl::SkipEmpty())) {
      pid_t child = 0;
      if (absl::SimpleAtoi(word, &child)) children.push_back(child);
    }
  }
  return children;
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
  if (auto told = ToldChildren(pid)) return *std::move(told);
  std::vector<pid_t> children;
  for (const ProcessEntry& process : ListProcesses()) {
    if (process.parent == pid) children.push_back(process.pid);
  }
  return children;
}

// A child that ended between the two looks at it has left its own ones to `pid`, which a third look
// finds; it stays a zombie until then.
std::vector<pid_t> LiveChildrenOf(pid_t pid, const std::set<pid_t>& keep) {
  std::set<pid_t> done = keep;
  while (true) {
    std::vector<pid_t> live;
    bool is_settled = true;
    for (const pid_t child : ChildrenOf(pid)) {
      if (done.contains(child)) continue;
      const auto process = FindProcess(child);
      if (process && !process->has_ended()) {
        live.push_back(child);
      } else {
        done.insert(child);
        is_settled = false;
      }
    }
    if (!live.empty() || is_settled) return live;
  }
}

std::vector<pid_t> DescendantsOf(pid_t pid) {
  const std::vector<ProcessEntry> all = ListProcesses();
  std::vector<pid_t> tree;
  std::vector<pid_t> parents = {pid};
  while (!parents.empty()) {
    std::vector<pid_t> next;
    for (const ProcessEntry& process : all) {
      if (Contains(parents, process.parent)) next.push_back(process.pid);
    }
    tree.insert(tree.end(), next.begin(), next.end());
    parents = std::move(next);
  }
  return tree;
}

}  // namespace dstack::process
