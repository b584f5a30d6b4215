#include "libs/config/shorthand/duration.h"

#include <array>
#include <optional>

#include <fmt/format.h>

#include "libs/config/text.h"

namespace dstack::config {

namespace {

struct Unit {
  char letter;
  int64_t seconds;
};

constexpr std::array kUnits = {
    Unit{'w', 604'800}, Unit{'d', 86'400}, Unit{'h', 3'600}, Unit{'m', 60}, Unit{'s', 1}};

constexpr std::string_view kRule =
    "must be a whole number with one unit, such as `90s`, `30m`, `2h`, `3d`, `1w`";

std::optional<int64_t> UnitSeconds(char letter) {
  for (const Unit& unit : kUnits) {
    if (unit.letter == letter) return unit.seconds;
  }
  return std::nullopt;
}

absl::StatusOr<int64_t> Bounded(int64_t number, int64_t unit_seconds) {
  const int64_t limit = kMaxDurationSeconds / unit_seconds;
  if (number > limit || number < -limit) return BrokenRule("must not exceed 10,000 years");
  return number * unit_seconds;
}

}  // namespace

absl::StatusOr<int64_t> ParseSeconds(std::string_view text) {
  if (text.find('\n') != std::string_view::npos) return BrokenRule(kRule);
  if (const std::optional<int64_t> seconds = ParseInteger(text)) return Bounded(*seconds, 1);
  if (text.empty()) return BrokenRule(kRule);
  const std::optional<int64_t> unit = UnitSeconds(text.back());
  if (!unit) return BrokenRule(kRule);
  std::string_view digits = text.substr(0, text.size() - 1);
  while (!digits.empty() && digits.back() == ' ') digits.remove_suffix(1);
  if (!IsAllDigits(digits)) return BrokenRule(kRule);
  const std::optional<int64_t> number = ParseInteger(digits);
  if (!number) return BrokenRule("must not exceed 10,000 years");
  return Bounded(*number, *unit);
}

absl::StatusOr<google::protobuf::Duration> ParseDuration(std::string_view text) {
  const absl::StatusOr<int64_t> seconds = ParseSeconds(text);
  if (!seconds.ok()) return seconds.status();
  if (*seconds < 0) return BrokenRule("must not be negative");
  return ToDuration(*seconds);
}

absl::StatusOr<v1::OffableDuration> ParseOffableDuration(std::string_view text) {
  v1::OffableDuration result;
  if (text == "off") {
    result.set_off(true);
    return result;
  }
  const absl::StatusOr<google::protobuf::Duration> duration = ParseDuration(text);
  if (!duration.ok()) {
    return BrokenRule(MessageOf(duration.status()) + ", or `off`");
  }
  *result.mutable_duration() = *duration;
  return result;
}

google::protobuf::Duration ToDuration(int64_t seconds) {
  google::protobuf::Duration duration;
  duration.set_seconds(seconds);
  return duration;
}

std::string FormatDuration(int64_t seconds) {
  if (seconds == 0) return "0s";
  for (const Unit& unit : kUnits) {
    if (seconds % unit.seconds == 0)
      return fmt::format("{}{}", seconds / unit.seconds, unit.letter);
  }
  return fmt::format("{}s", seconds);
}

std::string FormatDuration(const google::protobuf::Duration& duration) {
  return FormatDuration(duration.seconds());
}

std::string FormatDuration(const v1::OffableDuration& duration) {
  switch (duration.setting_case()) {
    case v1::OffableDuration::kDuration:
      return FormatDuration(duration.duration());
    case v1::OffableDuration::kOff:
      return "off";
    case v1::OffableDuration::SETTING_NOT_SET:
      break;
  }
  return "";
}

}  // namespace dstack::config
