#include "services/server/store/log_streams.h"

#include <string>

#include "fmt/format.h"
#include "libs/base/status.h"
#include "libs/db/params.h"
#include "libs/db/rows.h"
#include "libs/db/statement.h"
#include "services/server/ports/notifications.h"
#include "services/server/store/job_rows.h"
#include "services/server/store/outbox.h"
#include "services/server/store/segment_codec.h"

namespace dstack::server {
namespace {

// A segment takes further frames up to this size. Each append rewrites the segment, so a larger
// bound would cost more in writing than it saves in rows.
constexpr std::size_t kMaxTailBytes = 8 << 10;
// Data of one frame.
constexpr std::size_t kMaxFrameDataBytes = 1 << 20;

// Keys as two array parameters.
struct KeyArrays {
  template <typename Keys>
  explicit KeyArrays(const Keys& keys) {
    std::vector<std::string> job_ids;
    std::vector<std::string> source_numbers;
    for (const auto& [job, source] : keys) {
      job_ids.push_back(job);
      source_numbers.push_back(std::to_string(source));
    }
    jobs = db::ArrayLiteral(job_ids);
    sources = db::ArrayLiteral(source_numbers);
  }
  std::string jobs;
  std::string sources;
};

std::size_t DataBytes(const common::v1::LogBatch& batch) {
  std::size_t bytes = 0;
  for (const auto& record : batch.records()) bytes += record.data().size();
  return bytes;
}

absl::Status Refuse(absl::StatusCode code,
                    std::string_view reason,
                    const LogStore::Append& append,
                    std::string_view what) {
  return base::Error(code,
                     reason,
                     fmt::format("log of job {}: {}", append.job_id, what),
                     {{"job_id", append.job_id.str()}});
}

}  // namespace

LogStreams::Key LogStreams::KeyOf(const LogStore::Append& append) {
  return {append.job_id.str(), static_cast<int>(append.batch.source())};
}

void LogStreams::LockExisting(const std::vector<Key>& keys) {
  const KeyArrays arrays(keys);
  for (const auto& row : db::ExecPrepared(
           tx_,
           "SELECT s.job_id, s.source, s.last_sequence, s.is_ended, s.tail_sequence, s.tail_bytes"
           " FROM log_streams s"
           " WHERE (s.job_id, s.source) IN (SELECT * FROM unnest($1::uuid[], $2::smallint[]))"
           " ORDER BY s.job_id, s.source FOR NO KEY UPDATE",
           arrays.jobs,
           arrays.sources)) {
    Stream& stream = streams_[{db::Text(row["job_id"]), db::As<int>(row["source"])}];
    stream.last_sequence = db::As<std::uint64_t>(row["last_sequence"]);
    stream.is_ended = db::Bool(row["is_ended"]);
    stream.tail_sequence = db::As<std::uint64_t>(row["tail_sequence"]);
    stream.tail_bytes = db::As<std::size_t>(row["tail_bytes"]);
  }
}

void LogStreams::Create(const std::vector<Key>& keys) {
  const KeyArrays arrays(keys);
  db::ExecPrepared(
      tx_,
      "INSERT INTO log_streams (job_id, source) SELECT n.job_id, n.source"
      " FROM unnest($1::uuid[], $2::smallint[]) AS n (job_id, source)"
      " JOIN jobs j ON j.id = n.job_id ORDER BY n.job_id, n.source ON CONFLICT DO NOTHING",
      arrays.jobs,
      arrays.sources);
}

absl::Status LogStreams::Lock(const std::vector<LogStore::Append>& appends) {
  std::map<Key, const LogStore::Append*> wanted;
  for (const auto& append : appends) {
    if (append.batch.source() == common::v1::LOG_SOURCE_UNSPECIFIED) {
      return Refuse(
          absl::StatusCode::kInvalidArgument, "INVALID_FIELDS", append, "the source is not set");
    }
    wanted.emplace(KeyOf(append), &append);
  }
  std::vector<Key> keys;
  for (const auto& [key, append] : wanted) keys.push_back(key);
  LockExisting(keys);
  std::vector<Key> missing;
  for (const Key& key : keys) {
    if (!streams_.contains(key)) missing.push_back(key);
  }
  if (missing.empty()) return absl::OkStatus();
  Create(missing);
  LockExisting(missing);
  for (const Key& key : missing) {
    if (!streams_.contains(key)) {
      return Refuse(
          absl::StatusCode::kNotFound, "JOB_NOT_FOUND", *wanted[key], "there is no such job");
    }
  }
  return absl::OkStatus();
}

absl::Status LogStreams::Append(const LogStore::Append& append) {
  const Key key = KeyOf(append);
  Stream& stream = streams_.at(key);
  common::v1::LogBatch fresh;
  std::uint64_t next = stream.last_sequence + 1;
  std::size_t bytes = 0;
  for (const auto& record : append.batch.records()) {
    if (record.sequence() < next) continue;
    if (record.sequence() > next) {
      return Refuse(absl::StatusCode::kInvalidArgument,
                    "INVALID_FIELDS",
                    append,
                    fmt::format("record {} comes where {} is due", record.sequence(), next));
    }
    if (stream.is_ended) {
      return Refuse(absl::StatusCode::kFailedPrecondition,
                    "INVALID_STATE",
                    append,
                    fmt::format("record {} comes after the end", record.sequence()));
    }
    if (bytes > 0 && bytes + record.data().size() > kMaxFrameDataBytes) {
      WriteBatch(key, stream, fresh);
      fresh.clear_records();
      bytes = 0;
    }
    *fresh.add_records() = record;
    bytes += record.data().size();
    ++next;
  }
  if (fresh.records_size() > 0) WriteBatch(key, stream, fresh);
  if (append.is_end && !stream.is_ended) {
    stream.is_ended = true;
    stream.is_changed = true;
  }
  return absl::OkStatus();
}

void LogStreams::WriteBatch(const Key& key, Stream& stream, const common::v1::LogBatch& batch) {
  const std::string frame = EncodeFrame(batch);
  const auto& last = *batch.records().rbegin();
  const auto raw_bytes = static_cast<std::int64_t>(DataBytes(batch));
  const bool goes_on =
      stream.tail_sequence > 0 && stream.tail_bytes + frame.size() <= kMaxTailBytes;
  if (!goes_on) {
    stream.tail_sequence = batch.records(0).sequence();
    stream.tail_bytes = 0;
  }
  const char* const sql =
      goes_on ? "UPDATE log_segments SET last_sequence = $4, last_time_unix_nano = $5,"
                " raw_bytes = raw_bytes + $6, data = data || $7"
                " WHERE job_id = $1 AND source = $2 AND first_sequence = $3"
              : "INSERT INTO log_segments (job_id, source, first_sequence, last_sequence,"
                " last_time_unix_nano, raw_bytes, data) VALUES ($1, $2, $3, $4, $5, $6, $7)";
  db::ExecPrepared(tx_,
                   sql,
                   key.first,
                   key.second,
                   db::Big(stream.tail_sequence),
                   db::Big(last.sequence()),
                   db::Big(last.time_unix_nano()),
                   raw_bytes,
                   db::Bytes(frame));
  stream.tail_bytes += frame.size();
  stream.last_sequence = last.sequence();
  stream.is_changed = true;
}

void LogStreams::Finish() {
  std::vector<Key> keys;
  std::vector<std::string> last_sequences;
  std::vector<std::string> ends;
  std::vector<std::string> tail_sequences;
  std::vector<std::string> tail_bytes;
  Outbox outbox;
  for (const auto& [key, stream] : streams_) {
    if (!stream.is_changed) continue;
    keys.push_back(key);
    last_sequences.push_back(std::to_string(stream.last_sequence));
    ends.push_back(stream.is_ended ? "t" : "f");
    tail_sequences.push_back(std::to_string(stream.tail_sequence));
    tail_bytes.push_back(std::to_string(stream.tail_bytes));
    outbox.Notify(
        channel::kLog,
        fmt::format(
            "{}:{}:{}:{}", key.first, key.second, stream.last_sequence, stream.is_ended ? 1 : 0));
  }
  if (keys.empty()) return;
  const KeyArrays arrays(keys);
  db::ExecPrepared(
      tx_,
      "UPDATE log_streams s SET last_sequence = n.last_sequence, is_ended = n.is_ended,"
      " tail_sequence = n.tail_sequence, tail_bytes = n.tail_bytes"
      " FROM unnest($1::uuid[], $2::smallint[], $3::bigint[], $4::boolean[], $5::bigint[],"
      " $6::integer[])"
      " AS n (job_id, source, last_sequence, is_ended, tail_sequence, tail_bytes)"
      " WHERE s.job_id = n.job_id AND s.source = n.source",
      arrays.jobs,
      arrays.sources,
      db::ArrayLiteral(last_sequences),
      db::ArrayLiteral(ends),
      db::ArrayLiteral(tail_sequences),
      db::ArrayLiteral(tail_bytes));
  outbox.Flush(tx_, TimePoint());
}

std::uint64_t LogStreams::LastSequence(const LogStore::Append& append) const {
  return streams_.at(KeyOf(append)).last_sequence;
}

}  // namespace dstack::server
