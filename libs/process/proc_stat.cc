#include "libs/process/proc_stat.h"

#include <array>
#include <charconv>
#include <memory>

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "libs/base/file.h"

namespace dstack::process {
namespace {

// Counted from 1, as in proc(5).
constexpr int kParentField = 4;
constexpr int kGroupField = 5;
constexpr int kStartField = 22;

template <typename Number>
bool ParseNumber(std::string_view text, Number* number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *number);
  return error == std::errc() && end == text.data() + text.size();
}

std::optional<ProcessEntry> ReadStat(const std::string& path) {
  // The fields wanted are among the first; the name has at most 64 bytes.
  std::array<char, 512> buffer;
  const base::UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return std::nullopt;
  const ssize_t got = read(file.get(), buffer.data(), buffer.size());
  if (got <= 0) return std::nullopt;
  return ParseStat({buffer.data(), static_cast<std::size_t>(got)});
}

}  // namespace

std::optional<ProcessEntry> ParseStat(std::string_view stat) {
  ProcessEntry entry;
  const std::size_t open = stat.find(" (");
  const std::size_t close = stat.rfind(") ");
  if (open == std::string_view::npos || close == std::string_view::npos) return std::nullopt;
  std::string_view rest = stat.substr(close + 2);
  if (!ParseNumber(stat.substr(0, open), &entry.pid) || rest.empty()) return std::nullopt;
  entry.state = rest[0];
  for (int field = kParentField; field <= kStartField; ++field) {
    const std::size_t space = rest.find(' ');
    if (space == std::string_view::npos) return std::nullopt;
    rest.remove_prefix(space + 1);
    const std::string_view text = rest.substr(0, rest.find(' '));
    if (field == kParentField && !ParseNumber(text, &entry.parent)) return std::nullopt;
    if (field == kGroupField && !ParseNumber(text, &entry.group)) return std::nullopt;
    if (field == kStartField && !ParseNumber(text, &entry.start_ticks)) return std::nullopt;
  }
  return entry;
}

std::optional<ProcessEntry> FindProcess(pid_t pid) {
  return ReadStat(fmt::format("/proc/{}/stat", pid));
}

std::vector<ProcessEntry> ListProcesses(const std::string& proc) {
  std::vector<ProcessEntry> processes;
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(opendir(proc.c_str()), closedir);
  if (dir == nullptr) return processes;
  while (const dirent* entry = readdir(dir.get())) {
    pid_t pid = 0;
    if (!ParseNumber(std::string_view(entry->d_name), &pid)) continue;
    if (const auto process = ReadStat(proc + "/" + entry->d_name + "/stat")) {
      processes.push_back(*process);
    }
  }
  return processes;
}

}  // namespace dstack::process
