#include "services/runner/job/process_tree.h"

#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstdint>
#include <map>

#include <unistd.h>

#include "libs/process/reaper.h"

namespace dstack::runner {
namespace {

using process::ProcessEntry;

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
    if (process.pid == self || process.has_ended() || !is_in_scope) continue;
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
    if (process.has_ended()) continue;
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

// A chain of processes that each start the next one and end comes to us again and again as orphans.
// It lives shorter than a list of all processes takes, so these are caught as they arrive.
void KillOrphans(const std::set<pid_t>& not_ours) {
  constexpr int kLooks = 20;
  for (int look = 0; look < kLooks; ++look) {
    for (const pid_t pid : process::ChildrenOf(getpid())) {
      if (!not_ours.contains(pid)) kill(pid, SIGKILL);
    }
  }
}

// A list may have missed them all.
std::vector<pid_t> FindIn(const std::vector<ProcessEntry>& processes,
                          pid_t self,
                          const std::set<pid_t>& not_ours) {
  std::vector<pid_t> job = JobProcesses(processes, self, not_ours);
  return job.empty() ? process::LiveChildrenOf(self, not_ours) : job;
}

}  // namespace

std::vector<pid_t> FindJobProcesses(pid_t self,
                                    const std::set<pid_t>& not_ours,
                                    const std::string& proc) {
  return FindIn(process::ListProcesses(proc), self, not_ours);
}

std::size_t KillTree(pid_t self, const std::set<pid_t>& not_ours) {
  constexpr int kMostScans = 50;
  std::set<pid_t> seen;
  for (int scan = 0; scan < kMostScans; ++scan) {
    const std::vector<ProcessEntry> processes = process::ListProcesses();
    const std::vector<pid_t> job = FindIn(processes, self, not_ours);
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
