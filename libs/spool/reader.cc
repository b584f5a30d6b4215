#include "libs/spool/reader.h"

#include <algorithm>
#include <cerrno>
#include <limits>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "libs/base/macros.h"
#include "libs/base/status.h"
#include "libs/spool/format.h"

namespace dstack::spool {
namespace {

absl::Status DiskError(std::string_view what, const std::string& path, int error) {
  return base::ErrnoError(error, fmt::format("{} {}", what, path));
}

}  // namespace

Reader::Reader(std::string dir, std::uint64_t next_sequence)
    : dir_(std::move(dir)),
      next_sequence_(next_sequence),
      buffer_(std::make_unique_for_overwrite<char[]>(kBufferBytes)) {}

absl::StatusOr<std::unique_ptr<Reader>> Reader::Open(std::string dir,
                                                     std::uint64_t after_sequence) {
  std::unique_ptr<Reader> reader(new Reader(std::move(dir), after_sequence + 1));
  ASSIGN_OR_RETURN(const std::vector<std::uint64_t> firsts, ListSegments(reader->dir_));
  if (firsts.empty()) return reader;
  const auto behind = std::upper_bound(firsts.begin(), firsts.end(), reader->next_sequence_);
  if (behind == firsts.begin()) {
    return base::Error(absl::StatusCode::kOutOfRange,
                       "INVALID_STATE",
                       fmt::format("{} starts with record {}, record {} was asked for",
                                   reader->dir_,
                                   firsts.front(),
                                   reader->next_sequence_));
  }
  RETURN_IF_ERROR(reader->OpenSegment(*(behind - 1)).status());
  return reader;
}

absl::Status Reader::Read(std::size_t max_bytes, std::vector<Record>* out) {
  std::size_t bytes = 0;
  while (bytes < max_bytes) {
    ASSIGN_OR_RETURN(const Step step, Next(out));
    if (step == Step::kEnd) return absl::OkStatus();
    // A marker counts too, so that a long row of them ends.
    if (step == Step::kRecord) bytes += std::max<std::size_t>(1, out->back().data.size());
  }
  return absl::OkStatus();
}

absl::StatusOr<Reader::Step> Reader::Next(std::vector<Record>* out) {
  if (!file_) {
    ASSIGN_OR_RETURN(const bool is_open, OpenSegment(next_sequence_));
    return is_open ? Step::kMoved : Step::kEnd;
  }
  auto record = Decode();
  if (!record) {
    ASSIGN_OR_RETURN(const std::size_t got, Fill());
    if (got > 0) record = Decode();
  }
  if (record) {
    used_ += record->DiskBytes();
    if (record->sequence < next_sequence_) return Step::kMoved;
    out->push_back({record->sequence,
                    record->time_unix_nano,
                    std::string(record->data),
                    record->dropped_bytes});
    next_sequence_ = record->sequence + 1;
    return Step::kRecord;
  }
  return NextSegment(out);
}

// A record that is not the next one is damage, whatever its checksum says: the writer leaves none
// out.
std::optional<RecordView> Reader::Decode() const {
  auto record = DecodeRecord(Undecoded());
  if (record && record->sequence > next_sequence_) return std::nullopt;
  return record;
}

// Called when the open segment gives nothing more at the moment.
absl::StatusOr<Reader::Step> Reader::NextSegment(std::vector<Record>* out) {
  const bool is_clean_end = Undecoded().empty();
  if (is_clean_end && first_sequence_ != next_sequence_) {
    ASSIGN_OR_RETURN(const bool is_open, OpenSegment(next_sequence_));
    if (is_open) return Step::kMoved;
  }
  ASSIGN_OR_RETURN(const std::vector<std::uint64_t> firsts, ListSegments(dir_));
  const auto later = std::upper_bound(firsts.begin(), firsts.end(), first_sequence_);
  if (later == firsts.end()) return Step::kEnd;
  // The writer has left this segment, so what it holds now is all it will ever hold; what could not
  // be decoded before may have been a record on its way.
  ASSIGN_OR_RETURN(const std::size_t got, Fill());
  if (got > 0 && Decode().has_value()) return Step::kMoved;
  MarkLost(*later, out);
  ASSIGN_OR_RETURN(const bool is_open, OpenSegment(*later));
  return is_open ? Step::kMoved : Step::kEnd;
}

absl::StatusOr<bool> Reader::OpenSegment(std::uint64_t first_sequence) {
  const std::string path = SegmentPath(dir_, first_sequence);
  base::UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) {
    if (errno == ENOENT) return false;
    return DiskError("cannot open", path, errno);
  }
  file_ = std::move(file);
  first_sequence_ = first_sequence;
  offset_ = 0;
  used_ = 0;
  filled_ = 0;
  return true;
}

// Reads on from the first byte that was not decoded. What is there of it is read again, because it
// may have been half written the first time. Returns the bytes behind it.
absl::StatusOr<std::size_t> Reader::Fill() {
  offset_ -= filled_ - used_;
  used_ = 0;
  filled_ = 0;
  ssize_t got = 0;
  do {
    got = pread(file_.get(), buffer_.get(), kBufferBytes, static_cast<off_t>(offset_));
  } while (got < 0 && errno == EINTR);
  if (got < 0) return DiskError("cannot read", SegmentPath(dir_, first_sequence_), errno);
  filled_ = static_cast<std::size_t>(got);
  offset_ += filled_;
  return filled_;
}

void Reader::MarkLost(std::uint64_t until_sequence, std::vector<Record>* out) {
  // How the lost bytes were spread over the records is not known; the first marker gets them all.
  std::uint64_t bytes = std::max<std::uint64_t>(1, filled_);
  for (; next_sequence_ < until_sequence; ++next_sequence_) {
    out->push_back({.sequence = next_sequence_, .dropped_bytes = bytes});
    bytes = 1;
  }
}

absl::StatusOr<std::uint64_t> OldestSequence(const std::string& dir) {
  ASSIGN_OR_RETURN(const std::vector<std::uint64_t> firsts, ListSegments(dir));
  return firsts.empty() ? 1 : firsts.front();
}

absl::StatusOr<std::uint64_t> LastSequence(const std::string& dir) {
  ASSIGN_OR_RETURN(const std::vector<std::uint64_t> firsts, ListSegments(dir));
  if (firsts.empty()) return 0;
  ASSIGN_OR_RETURN(const auto reader, Reader::Open(dir, firsts.back() - 1));
  std::vector<Record> records;
  RETURN_IF_ERROR(reader->Read(std::numeric_limits<std::size_t>::max(), &records));
  return reader->next_sequence() - 1;
}

absl::StatusOr<std::vector<Record>> ReadNewest(const std::string& dir, std::size_t max_bytes) {
  std::vector<Record> records;
  ASSIGN_OR_RETURN(const std::vector<std::uint64_t> firsts, ListSegments(dir));
  if (firsts.empty()) return records;
  const std::uint64_t from = firsts[firsts.size() - std::min<std::size_t>(firsts.size(), 2)];
  ASSIGN_OR_RETURN(const auto reader, Reader::Open(dir, from - 1));
  RETURN_IF_ERROR(reader->Read(std::numeric_limits<std::size_t>::max(), &records));
  std::size_t bytes = 0;
  auto first = records.end();
  while (first != records.begin() && bytes + (first - 1)->data.size() <= max_bytes) {
    --first;
    bytes += first->data.size();
  }
  records.erase(records.begin(), first);
  return records;
}

}  // namespace dstack::spool
