#include "services/server/store/job_rows.h"

#include <chrono>

#include "libs/base/status.h"
#include "libs/db/params.h"
#include "libs/db/rows.h"
#include "libs/db/statement.h"
#include "services/server/store/enums.h"

namespace dstack::server {

const char* const kSelectJob =
    "SELECT j.id, j.run_id, j.project_id, j.name, j.replica_num, j.job_num, j.submission_num,"
    " j.status, j.termination_reason, j.termination_message, j.exit_status, j.instance_id,"
    " j.instance_name, j.blocks, j.is_released, j.offer, j.pull_progress, j.stop_grace_ms,"
    " extract(epoch FROM j.submitted_at) AS submitted_at,"
    " extract(epoch FROM j.running_at) AS running_at,"
    " extract(epoch FROM j.finished_at) AS finished_at,"
    " extract(epoch FROM j.unreachable_since) AS unreachable_since,"
    " j.ssh_port, j.task_revision, j.runner_revision, j.logs_ended FROM jobs j ";

const char* const kJobOrder = " ORDER BY j.replica_num, j.job_num, j.submission_num";

namespace {

// A document that may be absent.
template <typename Message>
absl::Status ParseOptional(const pqxx::field& field, std::optional<Message>* out) {
  if (field.is_null()) return absl::OkStatus();
  if (!out->emplace().ParseFromString(db::Blob(field))) {
    return base::Internal(std::string("jobs.") + field.name() + ": not a " +
                          Message::descriptor()->full_name());
  }
  return absl::OkStatus();
}

template <typename Message>
db::Param Document(const std::optional<Message>& message) {
  return message ? db::Param{db::BytesLiteral(message->SerializeAsString())} : db::Null();
}

db::Param Milliseconds(const std::optional<std::chrono::milliseconds>& duration) {
  return duration ? db::Param{std::to_string(duration->count())} : db::Null();
}

}  // namespace

absl::StatusOr<Job> JobFromRow(const pqxx::row& row) {
  Job job;
  job.id = JobId(db::Text(row["id"]));
  job.run_id = RunId(db::Text(row["run_id"]));
  job.project_id = ProjectId(db::Text(row["project_id"]));
  job.name = db::Text(row["name"]);
  job.replica_num = db::As<std::uint32_t>(row["replica_num"]);
  job.job_num = db::As<std::uint32_t>(row["job_num"]);
  job.submission_num = db::As<std::uint32_t>(row["submission_num"]);
  job.status = FromWord<JobStatus>(db::TextView(row["status"]));
  job.termination_reason = FromWord<JobTerminationReason>(db::TextView(row["termination_reason"]));
  job.termination_message = db::Text(row["termination_message"]);
  job.exit_status = db::OptionalAs<std::int32_t>(row["exit_status"]);
  job.instance_id = db::OptionalId<InstanceId>(row["instance_id"]);
  job.instance_name = db::Text(row["instance_name"]);
  job.blocks = db::As<std::uint32_t>(row["blocks"]);
  job.is_released = db::Bool(row["is_released"]);
  RETURN_IF_ERROR(ParseOptional(row["offer"], &job.offer));
  RETURN_IF_ERROR(ParseOptional(row["pull_progress"], &job.pull_progress));
  if (const auto grace_ms = db::OptionalAs<std::int64_t>(row["stop_grace_ms"])) {
    job.stop_grace = std::chrono::milliseconds(*grace_ms);
  }
  job.submitted_at = db::EpochTime(row["submitted_at"]);
  job.running_at = db::OptionalEpochTime(row["running_at"]);
  job.finished_at = db::OptionalEpochTime(row["finished_at"]);
  job.unreachable_since = db::OptionalEpochTime(row["unreachable_since"]);
  job.ssh_port = db::As<std::uint32_t>(row["ssh_port"]);
  job.task_revision = db::As<std::uint64_t>(row["task_revision"]);
  job.runner_revision = db::As<std::uint64_t>(row["runner_revision"]);
  job.logs_ended = db::Bool(row["logs_ended"]);
  return job;
}

absl::StatusOr<std::vector<Job>> JobsFromRows(const pqxx::result& rows) {
  std::vector<Job> jobs;
  jobs.reserve(rows.size());
  for (const auto& row : rows) {
    ASSIGN_OR_RETURN(Job job, JobFromRow(row));
    jobs.push_back(std::move(job));
  }
  return jobs;
}

void InsertJob(pqxx::work& tx, const Job& job, std::uint32_t priority) {
  db::ExecPrepared(
      tx,
      "INSERT INTO jobs (id, run_id, project_id, name, replica_num, job_num, submission_num,"
      " priority, status, is_released, submitted_at)"
      " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
      job.id.str(),
      job.run_id.str(),
      job.project_id.str(),
      job.name,
      job.replica_num,
      job.job_num,
      job.submission_num,
      priority,
      WordOf(job.status),
      job.is_released,
      db::Time(job.submitted_at));
}

void UpdateJob(pqxx::work& tx, const Job& job) {
  db::ExecPrepared(
      tx,
      "UPDATE jobs SET status = $2, termination_reason = $3, termination_message = $4,"
      " exit_status = $5, instance_id = $6, instance_name = $7, blocks = $8, is_released = $9,"
      " offer = $10, pull_progress = $11, stop_grace_ms = $12, running_at = $13,"
      " finished_at = $14, unreachable_since = $15, ssh_port = $16, task_revision = $17,"
      " runner_revision = $18, logs_ended = $19 WHERE id = $1",
      job.id.str(),
      WordOf(job.status),
      WordOrNull(job.termination_reason),
      db::CleanText(job.termination_message),
      db::Optional(job.exit_status),
      db::IdOrNull(job.instance_id),
      job.instance_name,
      job.blocks,
      job.is_released,
      Document(job.offer),
      Document(job.pull_progress),
      Milliseconds(job.stop_grace),
      db::Time(job.running_at),
      db::Time(job.finished_at),
      db::Time(job.unreachable_since),
      job.ssh_port,
      db::Big(job.task_revision),
      db::Big(job.runner_revision),
      job.logs_ended);
}

absl::Status JobNotFound(const JobId& id) {
  return base::NotFound("JOB_NOT_FOUND", "job", id.str());
}

}  // namespace dstack::server
