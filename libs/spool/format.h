#pragma once

// Form of a spool on disk; shared by Writer and Reader only.
//
// A spool is a directory of segments `<first sequence, 20 digits>.seg`. A segment is a row of
// records, each a header of kHeaderBytes (little endian: crc32 of everything behind it, size of the
// data, sequence, time, dropped bytes) and its data. The checksum finds a record that a crash cut.

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/statusor.h>

#include "libs/spool/record.h"

namespace dstack::spool {

inline constexpr std::size_t kHeaderBytes = 32;

// A record inside a buffer; data points into the buffer.
struct RecordView {
  std::uint64_t sequence = 0;
  std::uint64_t time_unix_nano = 0;
  std::string_view data;
  std::uint64_t dropped_bytes = 0;

  std::size_t DiskBytes() const { return kHeaderBytes + data.size(); }
};

std::array<char, kHeaderBytes> EncodeHeader(const RecordView& record);

// The record at the start of `buffer`; nothing when it is incomplete or its checksum is wrong.
std::optional<RecordView> DecodeRecord(std::string_view buffer);

std::string SegmentPath(std::string_view dir, std::uint64_t first_sequence);

// First sequences of the segments in `dir`, ascending. A directory that does not exist has none.
absl::StatusOr<std::vector<std::uint64_t>> ListSegments(const std::string& dir);

}  // namespace dstack::spool
