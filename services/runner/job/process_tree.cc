#include "services/runner/job/process_tree.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <csignal>
#include <cstdint>
#include <map>
#include <memory>

#include <absl/strings/str_split.h>
#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/base/status.h"

namespace dstack::runner {
namespace {

pid_t ParsePid(std::string_view text) {
  pid_t pid = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), pid);
  return error == std::errc() && end == text.data() + text.size() ? pid : 0;
}

std::string ReadStat(const std::string& path) {
  // The fields wanted are among the first; the name has at most 64 bytes.
  std::array<char, 512> buffer;
  const base::UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return "";
  const ssize_t got = read(file.get(), buffer.data(), buffer.size());
  return got > 0 ? std::string(buffer.data(), static_cast<std::size_t>(got)) : "";
}

// Adds everything below the processes in `roots` to them.
void AddDescendants(const std::multimap<pid_t, pid_t>& children, std::set<pid_t>* roots) {
  std::vector<pid_t> open(roots->begin(), roots->end());
  while (!open.empty()) {
    const auto [begin, end] = children.equal_range(open.back());
    open.pop_back();
    for (auto child = begin; child != end; ++child) {
      if (roots->insert(child->second).second) open.push_back(child->second);
    }
  }
}

}  // namespace

ProcessEntry ParseStat(std::string_view stat) {
  const std::size_t open = stat.find(" (");
  const std::size_t close = stat.rfind(") ");
  if (open == std::string_view::npos || close == std::string_view::npos) return {};
  std::string_view rest = stat.substr(close + 2);
  if (rest.size() < 3 || rest[1] != ' ') return {};
  const char state = rest[0];
  rest.remove_prefix(2);
  const std::string_view parent = rest.substr(0, rest.find(' '));
  rest.remove_prefix(std::min(rest.size(), parent.size() + 1));
  const std::string_view group = rest.substr(0, rest.find(' '));
  return {ParsePid(stat.substr(0, open)), ParsePid(parent), state, ParsePid(group)};
}

std::vector<ProcessEntry> ListProcesses(const std::string& proc) {
  std::vector<ProcessEntry> processes;
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(opendir(proc.c_str()), closedir);
  if (dir == nullptr) return processes;
  while (const dirent* entry = readdir(dir.get())) {
    if (ParsePid(entry->d_name) == 0) continue;
    const ProcessEntry process = ParseStat(ReadStat(proc + "/" + entry->d_name + "/stat"));
    if (process.pid != 0) processes.push_back(process);
  }
  return processes;
}

std::vector<pid_t> JobProcesses(const std::vector<ProcessEntry>& processes,
                                pid_t self,
                                const std::set<pid_t>& not_ours) {
  std::multimap<pid_t, pid_t> children;
  for (const ProcessEntry& process : processes) children.emplace(process.parent, process.pid);
  std::set<pid_t> excluded = not_ours;
  AddDescendants(children, &excluded);
  std::set<pid_t> below = {self};
  if (self != 1) AddDescendants(children, &below);
  std::vector<pid_t> job;
  for (const ProcessEntry& process : processes) {
    const bool is_in_scope = self == 1 || below.contains(process.pid);
    if (process.pid == self || process.state == 'Z' || !is_in_scope) continue;
    if (!excluded.contains(process.pid)) job.push_back(process.pid);
  }
  return job;
}

std::vector<pid_t> WholeGroups(const std::vector<ProcessEntry>& processes,
                               const std::vector<pid_t>& pids) {
  const std::set<pid_t> wanted(pids.begin(), pids.end());
  std::set<pid_t> groups;
  std::set<pid_t> mixed;
  for (const ProcessEntry& process : processes) {
    if (process.state == 'Z') continue;
    (wanted.contains(process.pid) ? groups : mixed).insert(process.group);
  }
  std::vector<pid_t> whole;
  for (const pid_t group : groups) {
    // 1 would be everybody, 0 our own.
    if (group > 1 && !mixed.contains(group)) whole.push_back(group);
  }
  return whole;
}

namespace {

// Children of this thread's process as the kernel lists them; nothing where it does not.
std::vector<pid_t> OwnChildren() {
  std::vector<pid_t> pids;
  const std::string text = base::ReadFile("/proc/thread-self/children").value_or("");
  for (absl::string_view word : absl::StrSplit(text, ' ', absl::SkipEmpty())) {
    pids.push_back(ParsePid(base::ToStd(word)));
  }
  return pids;
}

// A chain of processes that each start the next one and end comes to us again and again as orphans.
// It lives shorter than a list of all processes takes, so these are caught as they arrive.
void KillOrphans(const std::set<pid_t>& not_ours) {
  constexpr int kLooks = 20;
  for (int look = 0; look < kLooks; ++look) {
    for (const pid_t pid : OwnChildren()) {
      if (!not_ours.contains(pid)) kill(pid, SIGKILL);
    }
  }
}

}  // namespace

std::size_t KillTree(pid_t self, const std::set<pid_t>& not_ours) {
  constexpr int kMostScans = 50;
  std::set<pid_t> seen;
  for (int scan = 0; scan < kMostScans; ++scan) {
    const std::vector<ProcessEntry> processes = ListProcesses();
    const std::vector<pid_t> job = JobProcesses(processes, self, not_ours);
    const std::size_t before = seen.size();
    seen.insert(job.begin(), job.end());
    if (seen.size() == before) break;
    for (const pid_t group : WholeGroups(processes, job)) kill(-group, SIGKILL);
    SignalAll(job, SIGKILL);
    if (scan > 0) KillOrphans(not_ours);
  }
  return seen.size();
}

bool IgnoresSignal(std::string_view status, int signal) {
  constexpr std::string_view kField = "\nSigIgn:\t";
  const std::size_t at = status.find(kField);
  if (at == std::string_view::npos) return false;
  const char* const begin = status.data() + at + kField.size();
  std::uint64_t ignored = 0;
  std::from_chars(begin, status.data() + status.size(), ignored, 16);
  return (ignored >> (signal - 1) & 1) != 0;
}

void SignalAll(const std::vector<pid_t>& pids, int signal) {
  for (const pid_t pid : pids) kill(pid, signal);
}

}  // namespace dstack::runner
