#include "services/runner/usage/cgroup.h"

#include <algorithm>
#include <charconv>
#include <vector>

#include <absl/strings/ascii.h>
#include <absl/strings/str_split.h>

#include "libs/base/file.h"
#include "libs/base/status.h"

namespace dstack::runner {
namespace {

using Words = std::vector<std::string>;

struct Mount {
  std::string root;
  std::string point;
};

// A line is "id parent major:minor root point options [tags] - type source super-options".
std::optional<Mount> FindMount(std::string_view mountinfo,
                               std::string_view type,
                               std::string_view controller) {
  for (absl::string_view line : absl::StrSplit(base::ToAbsl(mountinfo), '\n')) {
    const Words words = absl::StrSplit(line, ' ');
    const auto dash = std::find(words.begin(), words.end(), "-");
    if (words.size() < 6 || words.end() - dash < 4 || dash[1] != type) continue;
    const Words options = absl::StrSplit(dash[3], ',');
    const bool fits = controller.empty() ||
                      std::find(options.begin(), options.end(), controller) != options.end();
    if (fits) return Mount{words[3], words[4]};
  }
  return std::nullopt;
}

// A line is "id:controllers:path"; version 2 has no controllers.
std::optional<std::string> FindPath(std::string_view cgroup, std::string_view controller) {
  for (absl::string_view line : absl::StrSplit(base::ToAbsl(cgroup), '\n')) {
    const Words fields = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (fields.size() != 3) continue;
    const Words controllers = absl::StrSplit(fields[1], ',');
    if (controller.empty()
            ? fields[1].empty()
            : std::find(controllers.begin(), controllers.end(), controller) != controllers.end()) {
      return fields[2];
    }
  }
  return std::nullopt;
}

std::string Directory(const std::optional<Mount>& mount, const std::optional<std::string>& path) {
  if (!mount || !path) return "";
  std::string_view below = *path;
  if (mount->root != "/") {
    // The mount shows a part of the tree; a path outside it is the part itself.
    if (!below.starts_with(mount->root)) return mount->point;
    below.remove_prefix(mount->root.size());
  }
  if (below == "/" || below.starts_with("/..")) below = {};
  return mount->point + std::string(below);
}

std::optional<std::uint64_t> ParseNumber(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end == text.data()) return std::nullopt;
  return value;
}

}  // namespace

CgroupFiles FindCgroup(std::string_view mountinfo, std::string_view cgroup) {
  CgroupFiles files;
  // Hybrid hosts mount both; the controllers are in version 1 there.
  const auto memory = FindMount(mountinfo, "cgroup", "memory");
  if (memory) {
    files.memory = Directory(memory, FindPath(cgroup, "memory"));
    files.cpu = Directory(FindMount(mountinfo, "cgroup", "cpuacct"), FindPath(cgroup, "cpuacct"));
    files.io = Directory(FindMount(mountinfo, "cgroup", "blkio"), FindPath(cgroup, "blkio"));
    return files;
  }
  files.is_v2 = true;
  files.memory = Directory(FindMount(mountinfo, "cgroup2", ""), FindPath(cgroup, ""));
  files.cpu = files.memory;
  files.io = files.memory;
  return files;
}

CgroupFiles FindOwnCgroup() {
  return FindCgroup(base::ReadFile("/proc/self/mountinfo").value_or(""),
                    base::ReadFile("/proc/self/cgroup").value_or(""));
}

DiskBytes ParseIoStat(std::string_view content, bool is_v2) {
  DiskBytes sum;
  for (absl::string_view line : absl::StrSplit(base::ToAbsl(content), '\n')) {
    const Words words = absl::StrSplit(line, ' ', absl::SkipEmpty());
    if (!is_v2 && words.size() == 3) {
      if (words[1] == "Read") sum.read += ParseNumber(words[2]).value_or(0);
      if (words[1] == "Write") sum.written += ParseNumber(words[2]).value_or(0);
    }
    for (const std::string_view word : words) {
      constexpr std::string_view kRead = "rbytes=";
      constexpr std::string_view kWritten = "wbytes=";
      if (word.starts_with(kRead)) sum.read += ParseNumber(word.substr(kRead.size())).value_or(0);
      if (word.starts_with(kWritten)) {
        sum.written += ParseNumber(word.substr(kWritten.size())).value_or(0);
      }
    }
  }
  return sum;
}

std::optional<std::uint64_t> ReadKey(const std::string& path, std::string_view key) {
  const std::string content = base::ReadFile(path).value_or("");
  for (absl::string_view line : absl::StrSplit(content, '\n')) {
    const std::string_view text = base::ToStd(line);
    if (text.starts_with(key) && text.size() > key.size() && text[key.size()] == ' ') {
      return ParseNumber(text.substr(key.size() + 1));
    }
  }
  return std::nullopt;
}

std::optional<std::uint64_t> ReadNumber(const std::string& path) {
  return ParseNumber(base::ReadFile(path).value_or(""));
}

}  // namespace dstack::runner
