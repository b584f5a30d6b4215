#include "services/server/store/run_rows.h"

#include "libs/base/status.h"
#include "libs/db/params.h"
#include "libs/db/rows.h"
#include "libs/db/statement.h"
#include "services/server/store/enums.h"

namespace dstack::server {

const char* const kSelectRun =
    "SELECT r.id, r.project_id, p.name AS project_name, r.user_id, u.name AS user_name, r.name,"
    " r.spec, r.status, r.termination_reason, r.priority, r.fleet_id, f.name AS fleet_name,"
    " r.resubmission_attempt, extract(epoch FROM r.next_wakeup_at) AS next_wakeup_at,"
    " extract(epoch FROM r.submitted_at) AS submitted_at,"
    " extract(epoch FROM r.finished_at) AS finished_at, r.version"
    " FROM runs r JOIN projects p ON p.id = r.project_id JOIN users u ON u.id = r.user_id"
    " LEFT JOIN fleets f ON f.id = r.fleet_id ";

namespace {

std::string SpecPlace(const RunId& id) { return "runs.spec:" + id.str(); }

}  // namespace

std::string SealRunSpec(const SecretBox& box, const RunId& id, const api::v1::RunSpec& spec) {
  return box.Seal(spec.SerializeAsString(), SpecPlace(id));
}

absl::StatusOr<Run> RunFromRow(const SecretBox& box, const pqxx::row& row) {
  Run run;
  run.id = RunId(db::Text(row["id"]));
  run.project_id = ProjectId(db::Text(row["project_id"]));
  run.project_name = db::Text(row["project_name"]);
  run.user_id = UserId(db::Text(row["user_id"]));
  run.user_name = db::Text(row["user_name"]);
  run.name = db::Text(row["name"]);
  ASSIGN_OR_RETURN(const std::string spec, box.Open(db::Blob(row["spec"]), SpecPlace(run.id)));
  if (!run.spec.ParseFromString(spec)) {
    return base::Internal(SpecPlace(run.id) + ": not a RunSpec");
  }
  run.status = FromWord<RunStatus>(db::TextView(row["status"]));
  run.termination_reason = FromWord<RunTerminationReason>(db::TextView(row["termination_reason"]));
  run.priority = db::As<std::uint32_t>(row["priority"]);
  run.fleet_id = db::OptionalId<FleetId>(row["fleet_id"]);
  run.fleet_name = db::Text(row["fleet_name"]);
  run.resubmission_attempt = db::As<std::uint32_t>(row["resubmission_attempt"]);
  run.next_wakeup_at = db::OptionalEpochTime(row["next_wakeup_at"]);
  run.submitted_at = db::EpochTime(row["submitted_at"]);
  run.finished_at = db::OptionalEpochTime(row["finished_at"]);
  run.version = db::As<std::uint64_t>(row["version"]);
  return run;
}

absl::StatusOr<std::vector<Run>> RunsFromRows(const SecretBox& box, const pqxx::result& rows) {
  std::vector<Run> runs;
  runs.reserve(rows.size());
  for (const auto& row : rows) {
    ASSIGN_OR_RETURN(Run run, RunFromRow(box, row));
    runs.push_back(std::move(run));
  }
  return runs;
}

void InsertRun(pqxx::work& tx, const SecretBox& box, const Run& run) {
  db::ExecPrepared(
      tx,
      "INSERT INTO runs (id, project_id, user_id, name, spec, status, termination_reason, priority,"
      " fleet_id, resubmission_attempt, next_wakeup_at, submitted_at, finished_at, version)"
      " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
      run.id.str(),
      run.project_id.str(),
      run.user_id.str(),
      run.name,
      db::Bytes(SealRunSpec(box, run.id, run.spec)),
      WordOf(run.status),
      WordOrNull(run.termination_reason),
      run.priority,
      db::IdOrNull(run.fleet_id),
      run.resubmission_attempt,
      db::Time(run.next_wakeup_at),
      db::Time(run.submitted_at),
      db::Time(run.finished_at),
      db::Big(run.version));
}

void UpdateRun(pqxx::work& tx, const Run& run) {
  db::ExecPrepared(
      tx,
      "UPDATE runs SET status = $2, termination_reason = $3, fleet_id = $4,"
      " resubmission_attempt = $5, next_wakeup_at = $6, finished_at = $7, version = $8,"
      " claimed_until = CASE WHEN $6 <= now() THEN claimed_until END"
      " WHERE id = $1",
      run.id.str(),
      WordOf(run.status),
      WordOrNull(run.termination_reason),
      db::IdOrNull(run.fleet_id),
      run.resubmission_attempt,
      db::Time(run.next_wakeup_at),
      db::Time(run.finished_at),
      db::Big(run.version));
}

absl::Status RunNotFound(const std::string& name_or_id) {
  return base::NotFound("RUN_NOT_FOUND", "run", name_or_id);
}

}  // namespace dstack::server
