#include "services/shim/host/usage.h"

#include <vector>

#include <absl/strings/numbers.h>
#include <absl/strings/str_split.h>
#include <absl/strings/strip.h>

#include "libs/base/file.h"
#include "libs/base/status.h"

namespace dstack::shim {
namespace {

constexpr std::uint64_t kSectorBytes = 512;
constexpr char kMount[] = "/sys/fs/cgroup";

using Lines = std::vector<std::string>;

Lines LinesOf(std::string_view text) {
  return absl::StrSplit(base::ToAbsl(text), '\n', absl::SkipWhitespace());
}

std::vector<std::string> WordsOf(std::string_view line) {
  return absl::StrSplit(base::ToAbsl(line), absl::ByAnyChar(" \t"), absl::SkipEmpty());
}

std::uint64_t Number(std::string_view text) {
  std::uint64_t value = 0;
  return absl::SimpleAtoi(base::ToAbsl(text), &value) ? value : 0;
}

std::optional<std::string> Read(const std::string& path) {
  auto text = base::ReadFile(path);
  if (!text.ok()) return std::nullopt;
  return *std::move(text);
}

std::uint64_t ReadNumber(const std::string& path) {
  const auto text = Read(path);
  return text ? Number(base::ToStd(absl::StripAsciiWhitespace(*text))) : 0;
}

// Value of a "key value" line.
std::uint64_t Keyed(std::string_view text, std::string_view key) {
  for (const std::string& line : LinesOf(text)) {
    const auto words = WordsOf(line);
    if (words.size() == 2 && words[0] == key) return Number(words[1]);
  }
  return 0;
}

// The group's directory. Inside a container with the host's mount but a namespace of its own the
// path may begin with groups that are not seen: those are left out one by one.
std::optional<std::string> Directory(const std::string& mount, std::string path) {
  while (path.size() > 1) {
    if (base::Exists(mount + path)) return mount + path;
    const std::size_t next = path.find('/', 1);
    if (next == path.npos) break;
    path.erase(0, next);
  }
  return std::nullopt;
}

void AddMemory(std::uint64_t used, std::string_view stat, std::string_view key, GroupUsage* usage) {
  const std::uint64_t droppable = Keyed(stat, key);
  usage->memory_bytes = used > droppable ? used - droppable : 0;
}

// "8:0 rbytes=1024 wbytes=0 rios=1 ..."
ByteCounters ParseIoStat(std::string_view text) {
  ByteCounters bytes;
  for (const std::string& line : LinesOf(text)) {
    for (const std::string& word : WordsOf(line)) {
      if (word.starts_with("rbytes=")) bytes.in += Number(std::string_view(word).substr(7));
      if (word.starts_with("wbytes=")) bytes.out += Number(std::string_view(word).substr(7));
    }
  }
  return bytes;
}

// "8:0 Read 1024"
ByteCounters ParseBlkio(std::string_view text) {
  ByteCounters bytes;
  for (const std::string& line : LinesOf(text)) {
    const auto words = WordsOf(line);
    if (words.size() != 3) continue;
    if (words[1] == "Read") bytes.in += Number(words[2]);
    if (words[1] == "Write") bytes.out += Number(words[2]);
  }
  return bytes;
}

bool AddUnified(const std::string& mount, const std::string& path, GroupUsage* usage) {
  const auto dir = Directory(mount, path);
  // The unified hierarchy of a mixed host has no controllers.
  if (!dir || !base::Exists(*dir + "/memory.current")) return false;
  usage->cpu_micros = Keyed(Read(*dir + "/cpu.stat").value_or(""), "usage_usec");
  AddMemory(ReadNumber(*dir + "/memory.current"),
            Read(*dir + "/memory.stat").value_or(""),
            "inactive_file",
            usage);
  usage->disk = ParseIoStat(Read(*dir + "/io.stat").value_or(""));
  return true;
}

}  // namespace

ByteCounters ParseNetDev(std::string_view text,
                         const std::function<bool(std::string_view name)>& is_counted) {
  constexpr std::size_t kSent = 8;
  ByteCounters bytes;
  for (const std::string& line : LinesOf(text)) {
    const std::size_t colon = line.find(':');
    if (colon == line.npos) continue;  // a headline
    const std::string name(base::ToStd(
        absl::StripAsciiWhitespace(base::ToAbsl(std::string_view(line).substr(0, colon)))));
    const auto words = WordsOf(std::string_view(line).substr(colon + 1));
    if (words.size() <= kSent || !is_counted(name)) continue;
    bytes.in += Number(words[0]);
    bytes.out += Number(words[kSent]);
  }
  return bytes;
}

ByteCounters ParseDiskstats(std::string_view text,
                            const std::function<bool(std::string_view name)>& is_counted) {
  constexpr std::size_t kName = 2;
  constexpr std::size_t kReadSectors = 5;
  constexpr std::size_t kWrittenSectors = 9;
  ByteCounters bytes;
  for (const std::string& line : LinesOf(text)) {
    const auto words = WordsOf(line);
    if (words.size() <= kWrittenSectors || !is_counted(words[kName])) continue;
    bytes.in += Number(words[kReadSectors]) * kSectorBytes;
    bytes.out += Number(words[kWrittenSectors]) * kSectorBytes;
  }
  return bytes;
}

GroupPaths ParseGroupPaths(std::string_view text) {
  GroupPaths paths;
  for (const std::string& line : LinesOf(text)) {
    // The path may hold colons.
    const std::vector<std::string> parts = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (parts.size() != 3) continue;
    if (parts[0] == "0" && parts[1].empty()) paths.unified = parts[2];
    for (const absl::string_view controller : absl::StrSplit(parts[1], ',')) {
      if (controller == "cpuacct") paths.cpu = parts[2];
      if (controller == "memory") paths.memory = parts[2];
      if (controller == "blkio") paths.blkio = parts[2];
    }
  }
  return paths;
}

std::optional<GroupUsage> ReadGroupUsage(const std::string& root, const GroupPaths& paths) {
  constexpr std::uint64_t kNanosPerMicro = 1000;
  const std::string mount = root + kMount;
  GroupUsage usage;
  if (AddUnified(mount, paths.unified, &usage)) return usage;
  bool is_found = false;
  if (const auto dir = Directory(mount + "/cpuacct", paths.cpu)) {
    usage.cpu_micros = ReadNumber(*dir + "/cpuacct.usage") / kNanosPerMicro;
    is_found = true;
  }
  if (const auto dir = Directory(mount + "/memory", paths.memory)) {
    AddMemory(ReadNumber(*dir + "/memory.usage_in_bytes"),
              Read(*dir + "/memory.stat").value_or(""),
              "total_inactive_file",
              &usage);
    is_found = true;
  }
  if (const auto dir = Directory(mount + "/blkio", paths.blkio)) {
    usage.disk = ParseBlkio(Read(*dir + "/blkio.throttle.io_service_bytes").value_or(""));
  }
  if (!is_found) return std::nullopt;
  return usage;
}

}  // namespace dstack::shim
