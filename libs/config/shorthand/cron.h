// Cron expressions of five fields. Weekday 0 is Monday, and day of month and weekday must both
// match, unlike in classic cron. Times are UTC.
#pragma once

#include <bitset>
#include <chrono>
#include <optional>
#include <string_view>

#include <absl/status/statusor.h>

namespace dstack::config {

class CronExpression {
 public:
  // minute 0-59, hour 0-23, day 1-31 or `last`, month 1-12 or `jan`.., weekday 0-6 or `mon`..; each
  // a comma list of `*`, `*/n`, `a`, `a-b`, `a-b/n`, `a/n`. The error message is the rule.
  static absl::StatusOr<CronExpression> Parse(std::string_view text);

  // The first whole minute later than `after` that matches. nullopt: none within eight years, which
  // means never (31 February).
  std::optional<std::chrono::system_clock::time_point> Next(
      std::chrono::system_clock::time_point after) const;

 private:
  bool MatchesDay(std::chrono::sys_days day) const;

  // One bit per value of the field.
  std::bitset<60> minutes_;
  std::bitset<60> hours_;
  std::bitset<60> days_;
  std::bitset<60> months_;
  std::bitset<60> weekdays_;
  bool has_last_day_ = false;
};

}  // namespace dstack::config
