#include "clients/cli/flags/since.h"

#include <absl/time/time.h>
#include <fmt/format.h>
#include <google/protobuf/util/time_util.h>

#include "libs/base/status.h"
#include "libs/config/shorthand/duration.h"

namespace dstack::cli {
namespace {

google::protobuf::Timestamp ToTimestamp(base::WallTime time) {
  return google::protobuf::util::TimeUtil::NanosecondsToTimestamp(
      std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count());
}

}  // namespace

absl::StatusOr<google::protobuf::Timestamp> ParseSince(std::string_view text, base::WallTime now) {
  if (const auto back = config::ParseDuration(text); back.ok()) {
    // The epoch bounds it: no log is older, and the clock's type holds only about 300 years.
    const auto since_epoch =
        std::chrono::duration_cast<std::chrono::seconds>(now.time_since_epoch());
    const std::chrono::seconds duration(back->seconds());
    return ToTimestamp(duration >= since_epoch ? base::WallTime() : now - duration);
  }
  absl::Time time;
  std::string error;
  if (absl::ParseTime(absl::RFC3339_full, base::ToAbsl(text), &time, &error)) {
    return ToTimestamp(absl::ToChronoTime(time));
  }
  return base::Invalid(
      fmt::format("--since: must be a duration such as `10m`, or a time with a zone such as "
                  "`2026-01-01T00:00:00Z` ({})",
                  text));
}

}  // namespace dstack::cli
