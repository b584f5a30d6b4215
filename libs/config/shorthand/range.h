// Ranges: `4` (exactly), `2..8`, `2..`, `..8`.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include <absl/status/statusor.h>

#include "dstack/config/v1/resources.pb.h"

namespace dstack::config {

// The two bounds as text. A text without `..` is both bounds.
struct RangeText {
  std::optional<std::string> min;
  std::optional<std::string> max;
};

// Error: no bound at all, or more than one `..`. The error message is the rule, here and below.
absl::StatusOr<RangeText> SplitRange(std::string_view text);

absl::StatusOr<v1::IntRange> ParseIntRange(std::string_view text);

// `4`, `2..8`, `2..`, `..8`; empty where both bounds are absent.
std::string FormatIntRange(const v1::IntRange& range);

}  // namespace dstack::config
