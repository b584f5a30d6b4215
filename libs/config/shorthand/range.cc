#include "libs/config/shorthand/range.h"

#include <fmt/format.h>

#include "libs/config/text.h"

namespace dstack::config {

namespace {

constexpr std::string_view kSeparator = "..";

absl::StatusOr<int64_t> Bound(const std::string& text) {
  const std::optional<int64_t> value = ParseInteger(text);
  if (!value) return BrokenRule("must be a whole number or a range such as `2..8`, `2..`, `..8`");
  return *value;
}

}  // namespace

absl::StatusOr<RangeText> SplitRange(std::string_view text) {
  const size_t dots = text.find(kSeparator);
  if (dots == std::string_view::npos) return RangeText{std::string(text), std::string(text)};
  const std::string range = WithoutSpaces(text);
  const size_t separator = range.find(kSeparator);
  const std::string min = range.substr(0, separator);
  const std::string max = range.substr(separator + kSeparator.size());
  if (max.find(kSeparator) != std::string::npos) {
    return BrokenRule("must have one `..` between the bounds");
  }
  if (min.empty() && max.empty()) return BrokenRule("must have a bound on one side of `..`");
  RangeText parts;
  if (!min.empty()) parts.min = min;
  if (!max.empty()) parts.max = max;
  return parts;
}

absl::StatusOr<v1::IntRange> ParseIntRange(std::string_view text) {
  const absl::StatusOr<RangeText> parts = SplitRange(text);
  if (!parts.ok()) return parts.status();
  v1::IntRange range;
  if (parts->min) {
    const absl::StatusOr<int64_t> min = Bound(*parts->min);
    if (!min.ok()) return min.status();
    range.set_min(*min);
  }
  if (parts->max) {
    const absl::StatusOr<int64_t> max = Bound(*parts->max);
    if (!max.ok()) return max.status();
    range.set_max(*max);
  }
  return range;
}

std::string FormatIntRange(const v1::IntRange& range) {
  if (!range.has_min() && !range.has_max()) return "";
  if (range.has_min() && range.has_max() && range.min() == range.max()) {
    return fmt::format("{}", range.min());
  }
  return fmt::format("{}..{}",
                     range.has_min() ? fmt::format("{}", range.min()) : "",
                     range.has_max() ? fmt::format("{}", range.max()) : "");
}

}  // namespace dstack::config
