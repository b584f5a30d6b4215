#include "clients/cli/render/text.h"

#include <algorithm>
#include <ctime>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace dstack::cli {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

struct CodePoint {
  uint32_t value = 0;
  size_t length = 0;  // 0: no valid sequence here
};

CodePoint Decode(std::string_view text, size_t position) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[position + i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  size_t length = 0;
  if (lead >= 0xC2 && lead < 0xE0) length = 2;
  if (lead >= 0xE0 && lead < 0xF0) length = 3;
  if (lead >= 0xF0 && lead < 0xF5) length = 4;
  if (length == 0 || position + length > text.size()) return {};
  uint32_t value = lead & (0xFFu >> (length + 1));
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return {};
    value = (value << 6) | (byte(i) & 0x3Fu);
  }
  return {value, length};
}

bool IsHarmful(uint32_t c) {
  const bool is_control = c < 0x20 || (c >= 0x7F && c <= 0x9F);
  const bool turns_direction =
      (c >= 0x202A && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069) || c == 0x200E || c == 0x200F;
  return is_control || turns_direction || c == 0x2028 || c == 0x2029;
}

std::string Escape(uint32_t c) {
  if (c == '\n') return "\\n";
  if (c == '\t') return "\\t";
  if (c == '\r') return "\\r";
  return c < 0x100 ? fmt::format("\\x{:02x}", c) : fmt::format("\\u{:04x}", c);
}

std::string NeutraliseExcept(std::string_view text, std::string_view kept) {
  std::string clean;
  clean.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const CodePoint point = Decode(text, i);
    if (point.length == 0) {
      clean += kReplacement;
      ++i;
      continue;
    }
    const bool is_kept = point.length == 1 && kept.find(text[i]) != std::string_view::npos;
    if (IsHarmful(point.value) && !is_kept) {
      clean += Escape(point.value);
    } else {
      clean += text.substr(i, point.length);
    }
    i += point.length;
  }
  return clean;
}

std::string Ago(long long count, const char* one, const char* many) {
  return count == 1 ? fmt::format("1 {} ago", one) : fmt::format("{} {} ago", count, many);
}

// At most `digits` after the point, without trailing zeros.
std::string ShortDecimal(double value, int digits) {
  std::string text = fmt::format("{:.{}f}", value, digits);
  if (digits == 0) return text;
  text.erase(text.find_last_not_of('0') + 1);
  if (!text.empty() && text.back() == '.') text.pop_back();
  return text;
}

}  // namespace

std::string Neutralise(std::string_view text) { return NeutraliseExcept(text, ""); }

std::string NeutraliseLines(std::string_view text) { return NeutraliseExcept(text, "\n\t"); }

size_t DisplayWidth(std::string_view text) {
  size_t width = 0;
  for (const char c : text) {
    if ((static_cast<unsigned char>(c) & 0xC0) != 0x80) ++width;
  }
  return width;
}

std::string Truncate(std::string_view text, size_t width) {
  if (DisplayWidth(text) <= width) return std::string(text);
  if (width == 0) return "";
  size_t cells = 0;
  size_t end = 0;
  while (end < text.size()) {
    const bool is_start = (static_cast<unsigned char>(text[end]) & 0xC0) != 0x80;
    if (is_start && ++cells == width) break;
    ++end;
  }
  return std::string(text.substr(0, end)) + "…";
}

std::string Wrap(std::string_view text,
                 size_t width,
                 std::string_view first,
                 std::string_view rest) {
  std::string result(first);
  size_t column = DisplayWidth(first);
  bool is_line_start = true;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(' ', begin), text.size());
    const std::string_view word = text.substr(begin, end - begin);
    begin = end + 1;
    if (word.empty()) continue;
    const size_t needed = DisplayWidth(word) + (is_line_start ? 0 : 1);
    if (!is_line_start && width > 0 && column + needed > width) {
      result += "\n";
      result += rest;
      column = DisplayWidth(rest);
      is_line_start = true;
    }
    if (!is_line_start) result += ' ';
    result += word;
    column += DisplayWidth(word) + (is_line_start ? 0 : 1);
    is_line_start = false;
  }
  return result + "\n";
}

std::string WrapMessage(std::string_view text, size_t width) {
  if (width == 0) return std::string(text);
  std::string result;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = text.substr(begin, end - begin);
    const bool is_kept = line.starts_with(' ') || DisplayWidth(line) <= width;
    std::string shown = is_kept ? std::string(line) : Wrap(line, width, "", "    ");
    if (!is_kept) shown.pop_back();
    result += shown;
    if (end < text.size()) result += '\n';
    begin = end + 1;
  }
  return result;
}

base::WallTime ToWallTime(const google::protobuf::Timestamp& timestamp) {
  return base::WallTime(std::chrono::duration_cast<base::WallTime::duration>(
      std::chrono::seconds(timestamp.seconds()) + std::chrono::nanoseconds(timestamp.nanos())));
}

std::string RelativeDate(base::WallTime then, base::WallTime now) {
  const long long seconds = std::chrono::duration_cast<std::chrono::seconds>(now - then).count();
  const long long minutes = seconds / 60;
  const long long hours = minutes / 60;
  const long long days = hours / 24;
  if (seconds < 10) return "now";
  if (seconds < 60) return fmt::format("{} sec ago", seconds);
  if (minutes < 60) return Ago(minutes, "min", "mins");
  if (hours < 24) return Ago(hours, "hour", "hours");
  if (days == 1) return "yesterday";
  if (days < 7) return fmt::format("{} days ago", days);
  if (days < 30) return Ago(days / 7, "week", "weeks");
  if (days < 365) return Ago(days / 30, "month", "months");
  return Ago(days / 365, "year", "years");
}

std::string ClockTime(base::WallTime then) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(then);
  std::tm local{};
  if (localtime_r(&seconds, &local) == nullptr) return "-";
  return fmt::format("{:02}:{:02}", local.tm_hour, local.tm_min);
}

std::string FormatPrice(double dollars) { return "$" + ShortDecimal(dollars, 4); }

std::string FormatGigabytes(uint64_t bytes) {
  const double gigabytes = static_cast<double>(bytes) / static_cast<double>(1ULL << 30);
  return ShortDecimal(gigabytes, gigabytes < 10 ? 1 : 0) + "GB";
}

std::string FormatGpus(const common::v1::Resources& resources) {
  if (resources.gpus().empty()) return "-";
  // In order of first appearance.
  std::vector<std::pair<std::string, int>> kinds;
  for (const auto& gpu : resources.gpus()) {
    std::string kind = gpu.name().empty() ? "gpu" : Neutralise(gpu.name());
    if (gpu.memory_bytes() > 0) kind += ":" + FormatGigabytes(gpu.memory_bytes());
    bool is_known = false;
    for (auto& [known, count] : kinds) {
      if (known != kind) continue;
      ++count;
      is_known = true;
    }
    if (!is_known) kinds.emplace_back(std::move(kind), 1);
  }
  std::string text;
  for (const auto& [kind, count] : kinds) {
    text += fmt::format("{}{}:{}", text.empty() ? "" : ",", kind, count);
  }
  return text;
}

std::string FormatHardware(const common::v1::Resources& resources) {
  // A host that is still being set up has not told yet.
  if (resources.cpus() == 0 && resources.memory_bytes() == 0) return "-";
  const char* arch = resources.cpu_arch() == common::v1::CPU_ARCH_ARM ? "arm:" : "";
  std::string text = fmt::format("cpu={}{}", arch, resources.cpus());
  text += " mem=" + FormatGigabytes(resources.memory_bytes());
  if (resources.disk_bytes() > 0) text += " disk=" + FormatGigabytes(resources.disk_bytes());
  if (!resources.gpus().empty()) text += " gpu=" + FormatGpus(resources);
  return text;
}

std::string FormatBackend(std::string_view backend, std::string_view region) {
  if (backend.empty()) return "-";
  const std::string name = backend == "remote" ? "ssh" : Neutralise(backend);
  return region.empty() ? name : fmt::format("{} ({})", name, Neutralise(region));
}

std::string Capitalise(std::string_view text) {
  std::string result(text);
  if (!result.empty() && result[0] >= 'a' && result[0] <= 'z') {
    result[0] = static_cast<char>(result[0] - 'a' + 'A');
  }
  return result;
}

}  // namespace dstack::cli
