#include "libs/spool/format.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>

#include <dirent.h>
#include <fmt/format.h>
#include <zlib.h>

#include "libs/base/status.h"

namespace dstack::spool {
namespace {

constexpr std::string_view kSuffix = ".seg";
constexpr std::size_t kDigits = 20;

template <typename T>
void Put(char* to, T value) {
  static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);
  std::memcpy(to, &value, sizeof(value));
}

template <typename T>
T Get(const char* from) {
  T value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

std::uint32_t Checksum(const char* header, std::string_view data) {
  const auto* head = reinterpret_cast<const Bytef*>(header + sizeof(std::uint32_t));
  uLong crc = crc32(0, head, kHeaderBytes - sizeof(std::uint32_t));
  // crc32 of a null pointer is a request for the initial value.
  if (!data.empty()) {
    crc = crc32(crc, reinterpret_cast<const Bytef*>(data.data()), static_cast<uInt>(data.size()));
  }
  return static_cast<std::uint32_t>(crc);
}

std::optional<std::uint64_t> FirstSequence(std::string_view name) {
  if (name.size() != kDigits + kSuffix.size() || !name.ends_with(kSuffix)) return std::nullopt;
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + kDigits, value);
  if (error != std::errc() || end != name.data() + kDigits) return std::nullopt;
  return value;
}

}  // namespace

std::array<char, kHeaderBytes> EncodeHeader(const RecordView& record) {
  std::array<char, kHeaderBytes> header;
  Put(header.data() + 4, static_cast<std::uint32_t>(record.data.size()));
  Put(header.data() + 8, record.sequence);
  Put(header.data() + 16, record.time_unix_nano);
  Put(header.data() + 24, record.dropped_bytes);
  Put(header.data(), Checksum(header.data(), record.data));
  return header;
}

std::optional<RecordView> DecodeRecord(std::string_view buffer) {
  if (buffer.size() < kHeaderBytes) return std::nullopt;
  const auto size = Get<std::uint32_t>(buffer.data() + 4);
  if (size > kMaxRecordBytes || buffer.size() < kHeaderBytes + size) return std::nullopt;
  RecordView record{.sequence = Get<std::uint64_t>(buffer.data() + 8),
                    .time_unix_nano = Get<std::uint64_t>(buffer.data() + 16),
                    .data = buffer.substr(kHeaderBytes, size),
                    .dropped_bytes = Get<std::uint64_t>(buffer.data() + 24)};
  if (Get<std::uint32_t>(buffer.data()) != Checksum(buffer.data(), record.data)) {
    return std::nullopt;
  }
  return record;
}

std::string SegmentPath(std::string_view dir, std::uint64_t first_sequence) {
  return fmt::format("{}/{:020}{}", dir, first_sequence, kSuffix);
}

absl::StatusOr<std::vector<std::uint64_t>> ListSegments(const std::string& dir) {
  std::vector<std::uint64_t> firsts;
  std::unique_ptr<DIR, int (*)(DIR*)> handle(opendir(dir.c_str()), closedir);
  if (handle == nullptr) {
    if (errno == ENOENT) return firsts;
    return base::ErrnoError(errno, fmt::format("cannot list spool {}", dir));
  }
  while (const dirent* entry = readdir(handle.get())) {
    if (const auto first = FirstSequence(entry->d_name)) firsts.push_back(*first);
  }
  std::sort(firsts.begin(), firsts.end());
  return firsts;
}

}  // namespace dstack::spool
