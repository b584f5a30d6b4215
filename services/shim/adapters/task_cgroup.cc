#include "services/shim/adapters/task_cgroup.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include <absl/strings/numbers.h>
#include <absl/strings/str_split.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/base/status.h"

namespace dstack::shim {
namespace {

constexpr std::uint64_t kPeriodMicros = 100'000;

// Silent: a host that does not let us set a limit runs the job without it.
void TryWrite(const std::string& path, const std::string& text) {
  const base::UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (fd) static_cast<void>(base::WriteAll(fd.get(), text).ok());
}

// The directory and all below it, the deepest first.
std::vector<std::string> WithChildren(const std::string& top) {
  std::vector<std::string> all;
  std::error_code error;
  for (std::filesystem::recursive_directory_iterator it(top, error), end; !error && it != end;
       it.increment(error)) {
    if (it->is_directory(error)) all.push_back(it->path().string());
  }
  std::reverse(all.begin(), all.end());
  all.push_back(top);
  return all;
}

struct Hierarchy {
  std::string mount_point;
  bool is_v2 = false;
  std::set<std::string> controllers;  // of version 1
};

std::vector<Hierarchy> ParseMounts(const std::string& mounts) {
  std::vector<Hierarchy> hierarchies;
  for (const absl::string_view line : absl::StrSplit(mounts, '\n')) {
    const std::vector<std::string> fields = absl::StrSplit(line, ' ');
    if (fields.size() < 4) continue;
    Hierarchy hierarchy{.mount_point = fields[1], .is_v2 = fields[2] == "cgroup2"};
    if (fields[2] == "cgroup") hierarchy.controllers = absl::StrSplit(fields[3], ',');
    if (hierarchy.is_v2 || fields[2] == "cgroup") hierarchies.push_back(std::move(hierarchy));
  }
  return hierarchies;
}

// Only the hierarchies in which jobs are measured and limited, and the one that can list them.
bool IsWanted(const Hierarchy& hierarchy) {
  return hierarchy.is_v2 || hierarchy.controllers.contains("memory") ||
         hierarchy.controllers.contains("cpu") || hierarchy.controllers.contains("cpuacct");
}

bool Matches(const Hierarchy& hierarchy, const std::string& controllers) {
  if (hierarchy.is_v2) return controllers.empty();
  const std::vector<std::string> names = absl::StrSplit(controllers, ',');
  return std::all_of(names.begin(), names.end(), [&](const std::string& name) {
    return hierarchy.controllers.contains(name);
  });
}

}  // namespace

std::vector<std::string> OwnCgroupDirs(const std::string& mounts, const std::string& own) {
  std::vector<std::string> directories;
  const std::vector<Hierarchy> hierarchies = ParseMounts(mounts);
  for (const absl::string_view line : absl::StrSplit(own, '\n')) {
    // "4:memory:/path", or "0::/path" for version 2; a path may hold colons.
    const std::vector<std::string> fields = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (fields.size() != 3) continue;
    for (const Hierarchy& hierarchy : hierarchies) {
      if (!IsWanted(hierarchy) || !Matches(hierarchy, fields[1])) continue;
      const std::string path = fields[2] == "/" ? "" : fields[2];
      directories.push_back(hierarchy.mount_point + path);
      break;
    }
  }
  return directories;
}

TaskCgroup::TaskCgroup(const std::string& name) {
  const auto mounts = base::ReadFile("/proc/self/mounts");
  const auto own = base::ReadFile("/proc/self/cgroup");
  if (!mounts.ok() || !own.ok()) return;
  for (const std::string& directory : OwnCgroupDirs(*mounts, *own)) {
    directories_.push_back(fmt::format("{}/{}", directory, name));
  }
}

void TaskCgroup::Enter(pid_t pid, std::uint64_t memory_bytes, std::uint32_t cpu_milli) const {
  for (const std::string& directory : directories_) {
    if (::mkdir(directory.c_str(), 0755) != 0 && !base::Exists(directory)) continue;
    if (memory_bytes > 0) {
      TryWrite(directory + "/memory.max", fmt::format("{}", memory_bytes));
      TryWrite(directory + "/memory.limit_in_bytes", fmt::format("{}", memory_bytes));
    }
    if (cpu_milli > 0) {
      const std::uint64_t quota = cpu_milli * kPeriodMicros / 1000;
      TryWrite(directory + "/cpu.max", fmt::format("{} {}", quota, kPeriodMicros));
      TryWrite(directory + "/cpu.cfs_quota_us", fmt::format("{}", quota));
    }
    TryWrite(directory + "/cgroup.procs", fmt::format("{}", pid));
  }
}

std::vector<pid_t> TaskCgroup::Processes() const {
  std::set<pid_t> pids;
  for (const std::string& top : directories_) {
    for (const std::string& directory : WithChildren(top)) {
      const std::string text = base::ReadFile(directory + "/cgroup.procs").value_or("");
      for (const absl::string_view line : absl::StrSplit(text, '\n')) {
        pid_t pid = 0;
        if (absl::SimpleAtoi(line, &pid) && pid > 0) pids.insert(pid);
      }
    }
  }
  return {pids.begin(), pids.end()};
}

void TaskCgroup::Kill() const {
  for (const std::string& directory : directories_) TryWrite(directory + "/cgroup.kill", "1");
}

void TaskCgroup::Remove() const {
  for (const std::string& top : directories_) {
    for (const std::string& directory : WithChildren(top)) ::rmdir(directory.c_str());
  }
}

}  // namespace dstack::shim
