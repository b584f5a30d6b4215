#include "libs/config/shorthand/cron.h"

#include <array>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "libs/config/text.h"

namespace dstack::config {

namespace {

using Bits = std::bitset<60>;

constexpr std::array kMonths = {
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"};
constexpr std::array kWeekdays = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};
constexpr size_t kNameLength = 3;
constexpr size_t kMinutesOfDay = 24 * 60;
constexpr int kSearchDays = 8 * 366;  // covers a leap day across a century without one

struct Field {
  const char* name;
  int64_t min;
  int64_t max;
};

constexpr Field kMinute = {"minute", 0, 59};
constexpr Field kHour = {"hour", 0, 23};
constexpr Field kDay = {"day", 1, 31};
constexpr Field kMonth = {"month", 1, 12};
constexpr Field kWeekday = {"weekday", 0, 6};

absl::Status BrokenItem(const Field& field, std::string_view item) {
  return BrokenRule(fmt::format("must have a {} from {} to {} instead of `{}`",
                                field.name,
                                field.min,
                                field.max,
                                Excerpt(item)));
}

template <size_t N>
std::optional<int64_t> IndexOf(std::string_view word, const std::array<const char*, N>& names) {
  const std::string lower = AsciiLower(word.substr(0, kNameLength));
  for (size_t i = 0; i < N; ++i) {
    if (lower == names[i]) return static_cast<int64_t>(i);
  }
  return std::nullopt;
}

// The value of a name such as `mon` at the start of the text.
std::optional<int64_t> NamedValue(const Field& field, std::string_view text) {
  if (field.name == kMonth.name) {
    const std::optional<int64_t> month = IndexOf(text, kMonths);
    return month ? std::optional(*month + 1) : std::nullopt;
  }
  if (field.name == kWeekday.name) return IndexOf(text, kWeekdays);
  return std::nullopt;
}

absl::Status AddRange(const Field& field,
                      std::string_view item,
                      int64_t first,
                      int64_t last,
                      int64_t step,
                      Bits* bits) {
  const bool is_within = first >= field.min && last <= field.max && first <= last;
  if (!is_within || step < 1) return BrokenItem(field, item);
  const int64_t span = last - first;
  if (step > 1 && step > span) {
    return BrokenRule(
        fmt::format("must not have a step larger than the range of `{}`", Excerpt(item)));
  }
  for (int64_t value = first; value <= last; value += step) bits->set(static_cast<size_t>(value));
  return absl::OkStatus();
}

// `mon`, `mon-fri`. Text after it has no meaning and is accepted, as in the reference system.
absl::Status AddNames(const Field& field, std::string_view item, int64_t first, Bits* bits) {
  int64_t last = first;
  if (item.size() > kNameLength && item[kNameLength] == '-') {
    const std::optional<int64_t> end = NamedValue(field, item.substr(kNameLength + 1));
    if (!end) return BrokenItem(field, item);
    last = *end;
  }
  return AddRange(field, item, first, last, 1, bits);
}

absl::Status AddItem(const Field& field, std::string_view item, Bits* bits) {
  if (const auto first = NamedValue(field, item)) return AddNames(field, item, *first, bits);
  const std::vector<std::string> parts = SplitOn(item, '/');
  if (parts.size() > 2) return BrokenItem(field, item);
  int64_t step = 1;
  if (parts.size() == 2) {
    const auto number = IsAllDigits(parts[1]) ? ParseInteger(parts[1]) : std::nullopt;
    if (!number) return BrokenItem(field, item);
    step = *number;
  }
  if (parts[0] == "*") return AddRange(field, item, field.min, field.max, step, bits);
  const std::vector<std::string> bounds = SplitOn(parts[0], '-');
  if (bounds.size() > 2 || !IsAllDigits(bounds.front()) || !IsAllDigits(bounds.back())) {
    return BrokenItem(field, item);
  }
  const std::optional<int64_t> first = ParseInteger(bounds.front());
  std::optional<int64_t> last = ParseInteger(bounds.back());
  if (!first || !last) return BrokenItem(field, item);
  // `a/n` runs to the end of the field.
  if (bounds.size() == 1 && parts.size() == 2) last = field.max;
  return AddRange(field, item, *first, *last, step, bits);
}

absl::Status AddField(const Field& field, std::string_view text, Bits* bits, bool* has_last_day) {
  for (const std::string& item : SplitOn(text, ',')) {
    if (has_last_day != nullptr && AsciiLower(item).starts_with("last")) {
      *has_last_day = true;
      continue;
    }
    if (absl::Status status = AddItem(field, item, bits); !status.ok()) return status;
  }
  return absl::OkStatus();
}

std::vector<std::string> BlankSeparated(std::string_view text) {
  std::vector<std::string> words;
  for (const std::string& line : SplitOn(text, '\t')) {
    for (std::string& word : SplitOn(line, ' ')) {
      if (!word.empty()) words.push_back(std::move(word));
    }
  }
  return words;
}

}  // namespace

absl::StatusOr<CronExpression> CronExpression::Parse(std::string_view text) {
  const std::vector<std::string> fields = BlankSeparated(text);
  if (fields.size() != 5) {
    return BrokenRule("must have five fields: minute, hour, day, month and weekday");
  }
  CronExpression result;
  absl::Status status = AddField(kMinute, fields[0], &result.minutes_, nullptr);
  if (status.ok()) status = AddField(kHour, fields[1], &result.hours_, nullptr);
  if (status.ok()) status = AddField(kDay, fields[2], &result.days_, &result.has_last_day_);
  if (status.ok()) status = AddField(kMonth, fields[3], &result.months_, nullptr);
  if (status.ok()) status = AddField(kWeekday, fields[4], &result.weekdays_, nullptr);
  if (!status.ok()) return status;
  return result;
}

bool CronExpression::MatchesDay(std::chrono::sys_days day) const {
  const std::chrono::year_month_day date(day);
  if (!months_.test(static_cast<unsigned>(date.month()))) return false;
  // ISO counts from Monday = 1.
  if (!weekdays_.test(std::chrono::weekday(day).iso_encoding() - 1)) return false;
  if (days_.test(static_cast<unsigned>(date.day()))) return true;
  const std::chrono::year_month_day_last last(date.year(), date.month() / std::chrono::last);
  return has_last_day_ && date.day() == last.day();
}

std::optional<std::chrono::system_clock::time_point> CronExpression::Next(
    std::chrono::system_clock::time_point after) const {
  const auto start = std::chrono::floor<std::chrono::minutes>(after) + std::chrono::minutes(1);
  std::chrono::sys_days day = std::chrono::floor<std::chrono::days>(start);
  auto minute_of_day = static_cast<size_t>((start - day).count());
  for (int i = 0; i < kSearchDays; ++i) {
    if (MatchesDay(day)) {
      for (size_t m = minute_of_day; m < kMinutesOfDay; ++m) {
        if (hours_.test(m / 60) && minutes_.test(m % 60)) {
          return day + std::chrono::minutes(m);
        }
      }
    }
    day += std::chrono::days(1);
    minute_of_day = 0;
  }
  return std::nullopt;
}

}  // namespace dstack::config
