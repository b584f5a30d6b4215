#include "services/server/store/postgres_retention_store.h"

#include <array>
#include <string>
#include <vector>

#include "libs/db/params.h"
#include "libs/db/rows.h"

namespace dstack::server {
namespace {

using std::chrono::hours;
using std::chrono::seconds;

// Points of jobs that run are looked at while they are no older than this beyond their time: those
// of jobs that have ended stay, and are not looked at again and again.
constexpr hours kLookBack{1};

struct Turn {
  pqxx::work& tx;
  const Retention& retention;
  std::size_t limit;
  TimePoint now;
};

std::size_t Count(const pqxx::result& result) {
  return static_cast<std::size_t>(result.affected_rows());
}

std::size_t DeleteUsage(const Turn& turn) {
  if (turn.retention.usage_finished == seconds(0)) return 0;
  return Count(turn.tx.exec_params(
      "DELETE FROM usage_points WHERE (subject_id, time) IN"
      " (SELECT subject_id, time FROM usage_points WHERE time < $1 ORDER BY time LIMIT $2)",
      db::Time(turn.now - turn.retention.usage_finished),
      turn.limit));
}

std::size_t DeleteUsageOfRunning(const Turn& turn) {
  if (turn.retention.usage_running == seconds(0)) return 0;
  const TimePoint end = turn.now - turn.retention.usage_running;
  return Count(turn.tx.exec_params(
      "DELETE FROM usage_points WHERE (subject_id, time) IN"
      " (SELECT p.subject_id, p.time FROM usage_points p WHERE p.time >= $1 AND p.time < $2"
      "  AND NOT EXISTS (SELECT FROM jobs j WHERE j.id = p.subject_id AND j.finished_at IS NOT "
      "NULL)"
      "  ORDER BY p.time LIMIT $3)",
      db::Time(end - kLookBack),
      db::Time(end),
      turn.limit));
}

std::size_t DeleteEvents(const Turn& turn) {
  if (turn.retention.events == seconds(0)) return 0;
  return Count(
      turn.tx.exec_params("DELETE FROM events WHERE (project_id, transaction, id) IN"
                          " (SELECT project_id, transaction, id FROM events WHERE created_at < $1"
                          "  ORDER BY created_at LIMIT $2)",
                          db::Time(turn.now - turn.retention.events),
                          turn.limit));
}

std::size_t DeleteRequests(const Turn& turn) {
  if (turn.retention.requests == seconds(0)) return 0;
  return Count(turn.tx.exec_params(
      "DELETE FROM requests WHERE (project_id, user_id, request_id) IN"
      " (SELECT project_id, user_id, request_id FROM requests WHERE created_at < $1"
      "  ORDER BY created_at LIMIT $2)",
      db::Time(turn.now - turn.retention.requests),
      turn.limit));
}

std::vector<std::string> Ids(const pqxx::result& rows) {
  std::vector<std::string> ids;
  for (const auto& row : rows) ids.push_back(db::Text(row["id"]));
  return ids;
}

std::size_t DeleteLogs(const Turn& turn) {
  if (turn.retention.logs == seconds(0)) return 0;
  const auto ids = Ids(turn.tx.exec_params(
      "SELECT id FROM jobs WHERE finished_at < $1 AND NOT are_logs_deleted AND logs_ended"
      " ORDER BY finished_at LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED",
      db::Time(turn.now - turn.retention.logs),
      turn.limit));
  if (ids.empty()) return 0;
  const std::string array = db::ArrayLiteral(ids);
  turn.tx.exec_params0("DELETE FROM log_segments WHERE job_id = ANY($1::uuid[])", array);
  turn.tx.exec_params0("UPDATE jobs SET are_logs_deleted = true WHERE id = ANY($1::uuid[])", array);
  return ids.size();
}

// Those whose jobs have given everything back: until then their hosts need the rows.
std::size_t DeleteRuns(const Turn& turn) {
  if (turn.retention.forgotten_runs == seconds(0)) return 0;
  const auto ids = Ids(turn.tx.exec_params(
      "SELECT r.id FROM runs r WHERE r.forgotten_at < $1"
      " AND r.status IN ('terminated', 'failed', 'done')"
      " AND NOT EXISTS (SELECT FROM jobs j WHERE j.run_id = r.id AND NOT j.is_released)"
      " ORDER BY r.forgotten_at LIMIT $2 FOR UPDATE OF r SKIP LOCKED",
      db::Time(turn.now - turn.retention.forgotten_runs),
      turn.limit));
  if (ids.empty()) return 0;
  const std::string array = db::ArrayLiteral(ids);
  for (const char* statement : {"DELETE FROM log_segments WHERE job_id IN"
                                " (SELECT id FROM jobs WHERE run_id = ANY($1::uuid[]))",
                                "DELETE FROM usage_points WHERE subject_id IN"
                                " (SELECT id FROM jobs WHERE run_id = ANY($1::uuid[]))",
                                "DELETE FROM runs WHERE id = ANY($1::uuid[])"}) {
    turn.tx.exec_params0(statement, array);
  }
  return ids.size();
}

// Runs name their files inside of sealed documents: a file may be needed while its user has a run
// from before its time is over.
std::size_t DeleteFiles(const Turn& turn) {
  if (turn.retention.files == seconds(0)) return 0;
  const auto rows = turn.tx.exec_params(
      "DELETE FROM user_files WHERE (user_id, digest) IN"
      " (SELECT f.user_id, f.digest FROM user_files f WHERE f.created_at < $1"
      "  AND NOT EXISTS (SELECT FROM runs r WHERE r.user_id = f.user_id AND r.submitted_at < $1"
      "   AND r.forgotten_at IS NULL AND r.status NOT IN ('terminated', 'failed', 'done'))"
      "  ORDER BY f.created_at LIMIT $2) RETURNING digest AS id",
      db::Time(turn.now - turn.retention.files),
      turn.limit);
  if (rows.empty()) return 0;
  const std::string digests = db::ArrayLiteral(Ids(rows));
  // Locked before it is looked whether others have them: an upload waits, or is seen.
  turn.tx.exec_params("SELECT FROM blobs WHERE digest = ANY($1::text[]) ORDER BY digest FOR UPDATE",
                      digests);
  turn.tx.exec_params0(
      "DELETE FROM blobs b WHERE b.digest = ANY($1::text[])"
      " AND NOT EXISTS (SELECT FROM user_files f WHERE f.digest = b.digest)",
      digests);
  return rows.size();
}

constexpr std::array kKinds = {DeleteUsage,
                               DeleteUsageOfRunning,
                               DeleteEvents,
                               DeleteRequests,
                               DeleteLogs,
                               DeleteRuns,
                               DeleteFiles};

}  // namespace

absl::StatusOr<bool> PostgresRetentionStore::ClaimTurn(std::chrono::milliseconds interval) {
  return Transact(context_, [&](pqxx::work& tx) -> absl::StatusOr<bool> {
    const auto claimed = tx.exec_params(
        "INSERT INTO chores (name, next_at)"
        " VALUES ('retention', now() + $1 * interval '1 millisecond')"
        " ON CONFLICT (name) DO UPDATE SET next_at = excluded.next_at"
        " WHERE chores.next_at <= now()",
        static_cast<std::int64_t>(interval.count()));
    return claimed.affected_rows() == 1;
  });
}

absl::StatusOr<std::size_t> PostgresRetentionStore::DeleteSome(const Retention& retention,
                                                               std::size_t limit,
                                                               TimePoint now) {
  std::size_t total = 0;
  for (const auto delete_kind : kKinds) {
    ASSIGN_OR_RETURN(const std::size_t count,
                     Transact(context_, [&](pqxx::work& tx) -> absl::StatusOr<std::size_t> {
                       return delete_kind({tx, retention, limit, now});
                     }));
    total += count;
  }
  return total;
}

}  // namespace dstack::server
