#include "services/runner/serve/log_stream.h"

#include <algorithm>
#include <vector>

#include "libs/base/macros.h"
#include "libs/base/status.h"

namespace dstack::runner {
namespace {

constexpr std::size_t kWindowBytes = 8 << 20;
// What a record costs besides its data, so that a flood of tiny ones is bounded too.
constexpr std::size_t kRecordOverheadBytes = 64;

}  // namespace

absl::StatusOr<LogStream> LogStream::Open(common::v1::LogSource source,
                                          const std::string& dir,
                                          std::uint64_t after_sequence,
                                          std::string* note) {
  auto reader = spool::Reader::Open(dir, after_sequence);
  if (reader.status().code() == absl::StatusCode::kOutOfRange) {
    *note = std::string(base::Message(reader.status()));
    ASSIGN_OR_RETURN(const std::uint64_t oldest, spool::OldestSequence(dir));
    reader = spool::Reader::Open(dir, oldest - 1);
    RETURN_IF_ERROR(reader.status());
    LogStream stream(source, *std::move(reader));
    stream.next_gone_ = after_sequence + 1;
    stream.first_present_ = oldest;
    return stream;
  }
  RETURN_IF_ERROR(reader.status());
  return LogStream(source, *std::move(reader));
}

// The server had them once, or nobody would have deleted them; it lost them since. Sequences have
// no holes, so each gets its marker.
std::vector<spool::Record> LogStream::GoneRecords() {
  constexpr std::uint64_t kMostMarkers = 4096;
  std::vector<spool::Record> records;
  const std::uint64_t end = std::min(first_present_, next_gone_ + kMostMarkers);
  for (; next_gone_ < end; ++next_gone_) {
    records.push_back({.sequence = next_gone_, .dropped_bytes = 1});
  }
  return records;
}

absl::StatusOr<std::optional<common::v1::LogBatch>> LogStream::Next(std::size_t max_bytes) {
  if (unacked_bytes_ >= kWindowBytes) {
    is_drained_ = false;
    return std::nullopt;
  }
  std::vector<spool::Record> records = GoneRecords();
  if (records.empty()) RETURN_IF_ERROR(reader_->Read(max_bytes, &records));
  is_drained_ = records.empty();
  if (records.empty()) return std::nullopt;
  std::size_t bytes = 0;
  for (const spool::Record& record : records) bytes += record.data.size() + kRecordOverheadBytes;
  unacked_.emplace_back(records.back().sequence, bytes);
  unacked_bytes_ += bytes;
  return ToBatch(source_, std::move(records));
}

void LogStream::Ack(std::uint64_t sequence) {
  while (!unacked_.empty() && unacked_.front().first <= sequence) {
    unacked_bytes_ -= unacked_.front().second;
    unacked_.pop_front();
  }
}

common::v1::LogBatch ToBatch(common::v1::LogSource source, std::vector<spool::Record> records) {
  common::v1::LogBatch batch;
  batch.set_source(source);
  batch.mutable_records()->Reserve(static_cast<int>(records.size()));
  for (spool::Record& record : records) {
    common::v1::LogRecord* out = batch.add_records();
    out->set_sequence(record.sequence);
    out->set_time_unix_nano(record.time_unix_nano);
    out->set_is_line_split(record.data.size() == spool::kMaxRecordBytes &&
                           record.data.back() != '\n');
    out->set_data(std::move(record.data));
    out->set_dropped_bytes(record.dropped_bytes);
  }
  return batch;
}

}  // namespace dstack::runner
