#include "services/server/store/postgres_log_store.h"

#include <chrono>
#include <utility>

#include "libs/base/status.h"
#include "libs/base/uuid.h"
#include "libs/db/params.h"
#include "libs/db/rows.h"
#include "libs/db/statement.h"
#include "libs/failpoint/failpoint.h"
#include "services/server/store/job_rows.h"
#include "services/server/store/log_streams.h"
#include "services/server/store/segment_codec.h"

namespace dstack::server {
namespace {

std::int64_t UnixNano(TimePoint time) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
}

// One row per segment, and one with NULLs when there is none. Segments are picked by size before
// their data is touched.
constexpr const char* kReadSegments =
    "SELECT coalesce(s.last_sequence, 0) AS stream_last,"
    " coalesce(s.is_ended, false) OR j.logs_ended OR (j.is_released"
    "  AND j.status IN ('terminated', 'aborted', 'failed', 'done')) AS is_ended,"
    " j.are_logs_deleted, g.data"
    " FROM jobs j LEFT JOIN log_streams s ON s.job_id = j.id AND s.source = $2"
    " LEFT JOIN LATERAL ("
    "  SELECT w.first_sequence, w.data FROM ("
    "   SELECT t.first_sequence, t.data,"
    "    sum(t.raw_bytes) OVER (ORDER BY t.first_sequence) - t.raw_bytes AS bytes_before FROM ("
    "    SELECT first_sequence, raw_bytes, data FROM log_segments"
    "    WHERE job_id = $1 AND source = $2 AND first_sequence >= coalesce(("
    "      SELECT max(first_sequence) FROM log_segments"
    "      WHERE job_id = $1 AND source = $2 AND first_sequence <= $3 + 1), 0)"
    "    AND last_sequence > $3 AND last_time_unix_nano >= $4"
    "    ORDER BY first_sequence LIMIT 256) t) w"
    "  WHERE w.bytes_before < $5) g ON true"
    " WHERE j.id = $1 ORDER BY g.first_sequence";

// Records of the segments that the request asks for, about its size and at least one. The rest of a
// segment is taken along when it is small: otherwise the next read would decode all of it again.
absl::Status TakeRecords(const pqxx::result& rows,
                         const LogStore::ReadRequest& request,
                         common::v1::LogBatch* out) {
  const std::int64_t since = request.since ? UnixNano(*request.since) : 0;
  const std::size_t most_bytes = request.max_bytes + request.max_bytes / 4;
  std::size_t bytes = 0;
  out->set_source(request.source);
  for (const auto& row : rows) {
    if (row["data"].is_null()) continue;
    common::v1::LogBatch segment;
    RETURN_IF_ERROR(DecodeFrames(db::Blob(row["data"]), &segment));
    for (auto& record : *segment.mutable_records()) {
      const bool is_before =
          record.sequence() <= request.after_sequence ||
          (out->records_size() == 0 && record.time_unix_nano() < static_cast<std::uint64_t>(since));
      if (is_before) continue;
      if (out->records_size() > 0 && bytes + record.data().size() > most_bytes) {
        return absl::OkStatus();
      }
      bytes += record.data().size();
      *out->add_records() = std::move(record);
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<std::uint64_t>> PostgresLogStore::AppendAll(
    const std::vector<Append>& appends) {
  return Transact(context_, [&](pqxx::work& tx) -> absl::StatusOr<std::vector<std::uint64_t>> {
    LogStreams streams(tx);
    RETURN_IF_ERROR(streams.Lock(appends));
    for (const Append& append : appends) RETURN_IF_ERROR(streams.Append(append));
    streams.Finish();
    std::vector<std::uint64_t> sequences;
    sequences.reserve(appends.size());
    for (const Append& append : appends) sequences.push_back(streams.LastSequence(append));
    FAILPOINT("server.logs_before_commit");
    return sequences;
  });
}

absl::StatusOr<std::vector<LogPosition>> PostgresLogStore::Positions(const JobId& job) {
  return Transact(context_, [&](pqxx::work& tx) -> absl::StatusOr<std::vector<LogPosition>> {
    std::vector<LogPosition> positions;
    for (const auto& row :
         tx.exec_params("SELECT source, last_sequence FROM log_streams"
                        " WHERE job_id = $1 AND last_sequence > 0 ORDER BY source",
                        job.str())) {
      positions.push_back({static_cast<common::v1::LogSource>(db::As<int>(row["source"])),
                           db::As<std::uint64_t>(row["last_sequence"])});
    }
    return positions;
  });
}

absl::StatusOr<LogStore::ReadResult> PostgresLogStore::Read(const ReadRequest& request) {
  if (!base::IsUuid(request.job_id.str())) return JobNotFound(request.job_id);
  return Transact(context_, [&](pqxx::work& tx) -> absl::StatusOr<ReadResult> {
    const auto rows = db::ExecPrepared(tx,
                                       kReadSegments,
                                       request.job_id.str(),
                                       static_cast<int>(request.source),
                                       db::Big(request.after_sequence),
                                       request.since ? UnixNano(*request.since) : 0,
                                       static_cast<std::int64_t>(request.max_bytes));
    if (rows.empty()) return JobNotFound(request.job_id);
    ReadResult result;
    RETURN_IF_ERROR(TakeRecords(rows, request, &result.batch));
    const auto stream_last = db::As<std::uint64_t>(rows[0]["stream_last"]);
    if (db::Bool(rows[0]["are_logs_deleted"]) && request.after_sequence < stream_last) {
      // One marker in place of all that was there.
      common::v1::LogRecord* gap = result.batch.add_records();
      gap->set_sequence(stream_last);
      gap->set_dropped_bytes(1);
    }
    const auto& records = result.batch.records();
    result.is_at_end = records.empty() || records.rbegin()->sequence() >= stream_last;
    result.is_ended = result.is_at_end && db::Bool(rows[0]["is_ended"]);
    return result;
  });
}

}  // namespace dstack::server
