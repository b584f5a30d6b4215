#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace dstack::spool {

// Most bytes that one record holds. One read of a terminal never gives more.
inline constexpr std::size_t kMaxRecordBytes = 32 * 1024;

// One piece of output.
struct Record {
  // Position in its log: 1, 2, 3, ... without holes.
  std::uint64_t sequence = 0;
  // When it was read, nanoseconds since 1970-01-01 UTC.
  std::uint64_t time_unix_nano = 0;
  // Raw bytes, at most kMaxRecordBytes. Empty in a gap marker.
  std::string data;
  // Above zero only in a gap marker: so many bytes are missing here.
  std::uint64_t dropped_bytes = 0;
};

}  // namespace dstack::spool
