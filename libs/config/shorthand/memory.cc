#include "libs/config/shorthand/memory.h"

#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "libs/config/shorthand/range.h"
#include "libs/config/text.h"

namespace dstack::config {

namespace {

constexpr double kBytesPerGb = 1024.0 * 1024.0 * 1024.0;
// 2^53 bytes (8 PB): beyond this a size in double precision is no longer exact.
constexpr double kMaxBytes = 9007199254740992.0;

constexpr std::string_view kRule = "must be a size such as `512MB`, `24GB` or `1.5TB`";

}  // namespace

absl::StatusOr<uint64_t> ParseMemory(std::string_view text) {
  std::string size = AsciiLower(WithoutSpaces(text));
  double unit_bytes = kBytesPerGb;
  if (size.ends_with("tb")) unit_bytes = kBytesPerGb * 1024.0;
  if (size.ends_with("mb")) unit_bytes = kBytesPerGb / 1024.0;
  if (size.ends_with("tb") || size.ends_with("gb") || size.ends_with("mb")) {
    size.resize(size.size() - 2);
  }
  const std::optional<double> number = ParseDecimal(size);
  if (!number) return BrokenRule(kRule);
  const double bytes = *number * unit_bytes;
  if (bytes < 0) return BrokenRule("must not be negative");
  if (bytes > kMaxBytes) return BrokenRule("must not exceed 8192TB");
  return static_cast<uint64_t>(std::llround(bytes));
}

absl::StatusOr<v1::MemoryRange> ParseMemoryRange(std::string_view text) {
  const absl::StatusOr<RangeText> parts = SplitRange(text);
  if (!parts.ok()) return parts.status();
  v1::MemoryRange range;
  if (parts->min) {
    const absl::StatusOr<uint64_t> min = ParseMemory(*parts->min);
    if (!min.ok()) return min.status();
    range.set_min_bytes(*min);
  }
  if (parts->max) {
    const absl::StatusOr<uint64_t> max = ParseMemory(*parts->max);
    if (!max.ok()) return max.status();
    range.set_max_bytes(*max);
  }
  return range;
}

std::string FormatMemory(uint64_t bytes) {
  const double gb = static_cast<double>(bytes) / kBytesPerGb;
  return fmt::format("{}GB", std::round(gb * 1e4) / 1e4);
}

std::string FormatMemoryRange(const v1::MemoryRange& range) {
  const bool has_min = range.has_min_bytes();
  const bool has_max = range.has_max_bytes();
  if (!has_min && !has_max) return "";
  if (has_min && has_max && range.min_bytes() == range.max_bytes()) {
    return FormatMemory(range.min_bytes());
  }
  return fmt::format("{}..{}",
                     has_min ? FormatMemory(range.min_bytes()) : "",
                     has_max ? FormatMemory(range.max_bytes()) : "");
}

}  // namespace dstack::config
