// Durations: `90`, `90s`, `5m`, `2h`, `1d`, `1w`, and `off` where a limit can be switched off.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <absl/status/statusor.h>
#include <google/protobuf/duration.pb.h>

#include "dstack/config/v1/profile.pb.h"

namespace dstack::config {

// Longest duration that google.protobuf.Duration may hold, in seconds (10,000 years).
inline constexpr int64_t kMaxDurationSeconds = 315'576'000'000;

// Whole seconds, which may be negative only in the form of a bare number. The error message is the
// rule, here and below.
absl::StatusOr<int64_t> ParseSeconds(std::string_view text);

// A duration that is not negative.
absl::StatusOr<google::protobuf::Duration> ParseDuration(std::string_view text);

// A duration that is not negative, or `off`.
absl::StatusOr<v1::OffableDuration> ParseOffableDuration(std::string_view text);

google::protobuf::Duration ToDuration(int64_t seconds);

// With the largest unit that divides it evenly: `90s`, `2h`, `1w`, `0s`.
std::string FormatDuration(int64_t seconds);
std::string FormatDuration(const google::protobuf::Duration& duration);
// The same, or `off`; empty where nothing is set.
std::string FormatDuration(const v1::OffableDuration& duration);

}  // namespace dstack::config
