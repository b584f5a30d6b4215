#include "services/runner/job/process_tree.h"

#include <array>
#include <charconv>
#include <csignal>
#include <map>
#include <memory>

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include "libs/base/file.h"

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
  return {ParsePid(stat.substr(0, open)), ParsePid(parent), state};
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

void SignalAll(const std::vector<pid_t>& pids, int signal) {
  for (const pid_t pid : pids) kill(pid, signal);
}

}  // namespace dstack::runner
