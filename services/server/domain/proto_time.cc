#include "services/server/domain/proto_time.h"

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace dstack::server {

google::protobuf::Timestamp ToProto(TimePoint time) {
  const auto nanos =
      std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
  google::protobuf::Timestamp result;
  std::int64_t seconds = nanos / 1'000'000'000;
  std::int64_t rest = nanos % 1'000'000'000;
  if (rest < 0) {
    rest += 1'000'000'000;
    --seconds;
  }
  result.set_seconds(seconds);
  result.set_nanos(static_cast<std::int32_t>(rest));
  return result;
}

TimePoint FromProto(const google::protobuf::Timestamp& time) {
  // Far enough from the ends of a 64-bit count of nanoseconds.
  constexpr std::int64_t kLastSecond = 7'258'118'400;
  const std::int64_t seconds = std::clamp<std::int64_t>(time.seconds(), 0, kLastSecond);
  const std::int64_t nanos = std::clamp<std::int64_t>(time.nanos(), 0, 999'999'999);
  return TimePoint(std::chrono::duration_cast<TimePoint::duration>(
      std::chrono::seconds(seconds) + std::chrono::nanoseconds(nanos)));
}

}  // namespace dstack::server
