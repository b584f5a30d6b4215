#include "services/server/store/postgres_job_store.h"

#include <algorithm>
#include <map>
#include <utility>

#include "fmt/format.h"
#include "libs/base/status.h"
#include "libs/db/params.h"
#include "libs/db/rows.h"
#include "libs/failpoint/failpoint.h"
#include "services/server/domain/job/job_machine.h"
#include "services/server/ports/notifications.h"
#include "services/server/store/enums.h"
#include "services/server/store/instance_rows.h"
#include "services/server/store/job_rows.h"
#include "services/server/store/run_rows.h"
#include "services/server/store/run_writer.h"

namespace dstack::server {
namespace {

// What no report of a host may do, whatever its order or repetition.
absl::Status CheckChange(const Job& before, const Job& after) {
  RETURN_IF_ERROR(CheckJobTransition(before.status, after.status));
  if (before.is_released && !after.is_released) {
    return base::Error(absl::StatusCode::kFailedPrecondition,
                       "INVALID_STATE",
                       fmt::format("job {} has given its blocks back already", before.name),
                       {{"from", "released"}, {"event", "take"}});
  }
  return absl::OkStatus();
}

void Release(pqxx::work& tx, const Job& job, Instance& instance) {
  // Never below zero: a count that is wrong already must not make the release fail for ever.
  instance.busy_blocks -= std::min(instance.busy_blocks, job.blocks);
  UpdateBlocks(tx, instance);
}

}  // namespace

absl::StatusOr<std::vector<JobAndRun>> PostgresJobStore::SelectWithRuns(
    pqxx::work& tx, const std::string& where, const std::string& parameter) {
  const auto job_rows = tx.exec_params(std::string(kSelectJob) + where, parameter);
  ASSIGN_OR_RETURN(std::vector<Job> jobs, JobsFromRows(job_rows));
  if (jobs.empty()) return std::vector<JobAndRun>();
  std::vector<RunId> run_ids;
  for (const Job& job : jobs) run_ids.push_back(job.run_id);
  const auto run_rows = tx.exec_params(std::string(kSelectRun) + "WHERE r.id = ANY($1::uuid[])",
                                       db::IdArray(run_ids));
  ASSIGN_OR_RETURN(const std::vector<Run> runs, RunsFromRows(context_.box, run_rows));
  std::map<RunId, const Run*> by_id;
  for (const Run& run : runs) by_id[run.id] = &run;
  std::vector<JobAndRun> result;
  for (Job& job : jobs) {
    const auto run = by_id.find(job.run_id);
    if (run != by_id.end()) result.push_back({std::move(job), *run->second});
  }
  return result;
}

absl::StatusOr<SchedulerSnapshot> PostgresJobStore::LoadSchedulerSnapshot(std::size_t max_jobs) {
  return Transact(context_, [&](pqxx::work& tx) -> absl::StatusOr<SchedulerSnapshot> {
    SchedulerSnapshot snapshot;
    // A run that is PENDING waits for its time.
    ASSIGN_OR_RETURN(auto jobs,
                     SelectWithRuns(tx,
                                    "JOIN runs r ON r.id = j.run_id WHERE j.status = 'submitted'"
                                    " AND r.status NOT IN ('pending', 'terminating')"
                                    " ORDER BY j.priority DESC, j.submitted_at, j.id LIMIT $1",
                                    std::to_string(max_jobs)));
    if (jobs.empty()) return snapshot;
    std::vector<ProjectId> projects;
    for (auto& [job, run] : jobs) {
      projects.push_back(job.project_id);
      snapshot.jobs.push_back({std::move(job), std::move(run)});
    }
    const auto rows =
        tx.exec_params(std::string(kSelectInstance) +
                           "WHERE i.status <> 'terminated' AND i.project_id = ANY($1::uuid[])"
                           " ORDER BY f.name, i.instance_num",
                       db::IdArray(projects));
    ASSIGN_OR_RETURN(snapshot.instances, InstancesFromRows(rows));
    return snapshot;
  });
}

absl::Status PostgresJobStore::AssignInside(pqxx::work& tx,
                                            const Assignment& assignment,
                                            TimePoint now) {
  ASSIGN_OR_RETURN(const RunAndJobs before, LockRunOfJob(tx, context_.box, assignment.job_id));
  std::vector<Job> jobs = before.jobs;
  Job& job = jobs[IndexOf(jobs, assignment.job_id)];
  Run run = before.run;
  if (job.status != api::v1::JOB_STATUS_SUBMITTED || IsFinal(run.status) ||
      run.status == api::v1::RUN_STATUS_PENDING || run.status == api::v1::RUN_STATUS_TERMINATING) {
    return LeaseLost(fmt::format("job {} does not wait any more", job.name));
  }
  ASSIGN_OR_RETURN(Instance instance, LockInstance(tx, assignment.instance_id));
  if (!TakesJobs(instance) || instance.drain || instance.project_id != run.project_id ||
      instance.busy_blocks + assignment.blocks > instance.total_blocks) {
    return LeaseLost(fmt::format("host {} has no room for job {}", instance.name, job.name));
  }
  if (run.fleet_id && *run.fleet_id != instance.fleet_id) {
    return LeaseLost(fmt::format("run {} is bound to another fleet", run.name));
  }
  job.status = api::v1::JOB_STATUS_PROVISIONING;
  job.instance_id = instance.id;
  job.instance_name = instance.name;
  job.blocks = assignment.blocks;
  job.is_released = false;
  job.offer = assignment.offer;
  run.fleet_id = instance.fleet_id;
  run.fleet_name = instance.fleet_name;
  instance.busy_blocks += assignment.blocks;
  UpdateBlocks(tx, instance);

  Outbox outbox;
  const RunChange change = RollUp(run, jobs, now, context_.ids);
  RunWriter(tx, outbox).Save(before, jobs, {job.id}, change);
  outbox.Flush(tx, now);
  FAILPOINT("server.assign_before_commit");
  return absl::OkStatus();
}

absl::Status PostgresJobStore::Assign(const Assignment& assignment, TimePoint now) {
  return Transact(context_, [&](pqxx::work& tx) { return AssignInside(tx, assignment, now); });
}

absl::Status PostgresJobStore::FailWaiting(const JobId& id,
                                           JobTerminationReason reason,
                                           const std::string& message,
                                           TimePoint now) {
  return Transact(context_, [&](pqxx::work& tx) -> absl::Status {
    ASSIGN_OR_RETURN(const RunAndJobs before, LockRunOfJob(tx, context_.box, id));
    std::vector<Job> jobs = before.jobs;
    Job& job = jobs[IndexOf(jobs, id)];
    if (job.status != api::v1::JOB_STATUS_SUBMITTED) {
      return LeaseLost(fmt::format("job {} does not wait any more", job.name));
    }
    job.status = FinalStatusOf(reason);
    job.termination_reason = reason;
    job.termination_message = message;
    job.finished_at = now;
    job.is_released = true;
    job.logs_ended = true;
    Outbox outbox;
    const RunChange change = RollUp(before.run, jobs, now, context_.ids);
    RunWriter(tx, outbox).Save(before, jobs, {id}, change);
    outbox.Flush(tx, now);
    return absl::OkStatus();
  });
}

absl::StatusOr<std::vector<JobAndRun>> PostgresJobStore::LoadOfHost(const InstanceId& instance) {
  return Transact(context_, [&](pqxx::work& tx) {
    return SelectWithRuns(tx,
                          "WHERE j.instance_id = $1 AND NOT j.is_released"
                          " ORDER BY j.submitted_at, j.id",
                          instance.str());
  });
}

absl::StatusOr<JobAndRun> PostgresJobStore::Load(const JobId& id) {
  if (!base::IsUuid(id.str())) return JobNotFound(id);
  return Transact(context_, [&](pqxx::work& tx) -> absl::StatusOr<JobAndRun> {
    ASSIGN_OR_RETURN(auto found, SelectWithRuns(tx, "WHERE j.id = $1", id.str()));
    if (found.empty()) return JobNotFound(id);
    return std::move(found.front());
  });
}

absl::StatusOr<Job> PostgresJobStore::UpdateInside(
    pqxx::work& tx, const HostEpoch& host, const JobId& id, TimePoint now, const Change& change) {
  ASSIGN_OR_RETURN(const RunAndJobs before, LockRunOfJob(tx, context_.box, id));
  // Locked before the job is looked at: a new owner raises the epoch under the same lock, so it
  // sees everything that the old one wrote, and the old one writes nothing after that.
  ASSIGN_OR_RETURN(Instance instance, LockOwnedInstance(tx, host));
  std::vector<Job> jobs = before.jobs;
  const std::size_t index = IndexOf(jobs, id);
  Job& job = jobs[index];
  if (job.instance_id != host.instance_id) {
    return LeaseLost(fmt::format("job {} is not a job of host {}", job.name, instance.name));
  }
  if (!change(job)) return before.jobs[index];
  RETURN_IF_ERROR(CheckChange(before.jobs[index], job));
  const Instance instance_before = instance;
  if (!before.jobs[index].is_released && job.is_released) Release(tx, job, instance);

  Outbox outbox;
  AddDrainEvents(instance_before, instance, outbox);
  const RunChange run_change = RollUp(before.run, jobs, now, context_.ids);
  const RunAndJobs after = RunWriter(tx, outbox).Save(before, jobs, {id}, run_change);
  outbox.Flush(tx, now);
  FAILPOINT("server.job_before_commit");
  return after.jobs[IndexOf(after.jobs, id)];
}

absl::StatusOr<Job> PostgresJobStore::Update(const HostEpoch& host,
                                             const JobId& id,
                                             TimePoint now,
                                             const Change& change) {
  return Transact(context_,
                  [&](pqxx::work& tx) { return UpdateInside(tx, host, id, now, change); });
}

absl::Status PostgresJobStore::SetUnreachable(const HostEpoch& host,
                                              bool is_unreachable,
                                              TimePoint now) {
  return Transact(context_, [&](pqxx::work& tx) -> absl::Status {
    // Runs first, in the lock order. A job that is assigned meanwhile waits for the next report.
    tx.exec_params(
        "SELECT FROM runs WHERE id IN"
        " (SELECT run_id FROM jobs WHERE instance_id = $1 AND NOT is_released)"
        " ORDER BY id FOR NO KEY UPDATE",
        host.instance_id.str());
    RETURN_IF_ERROR(LockOwnedInstance(tx, host).status());
    const auto rows = tx.exec_params(
        "WITH changed AS ("
        "  UPDATE jobs SET unreachable_since = $2 WHERE instance_id = $1 AND NOT is_released"
        "  AND status NOT IN ('terminated', 'aborted', 'failed', 'done')"
        "  AND (unreachable_since IS NULL) = ($2::timestamptz IS NOT NULL) RETURNING run_id)"
        " UPDATE runs SET version = version + 1 WHERE id IN (SELECT run_id FROM changed)"
        " RETURNING id",
        host.instance_id.str(),
        is_unreachable ? db::Time(now) : db::Null());
    if (rows.empty()) return absl::OkStatus();
    Outbox outbox;
    for (const auto& row : rows) outbox.Notify(channel::kRun, db::Text(row["id"]));
    outbox.Flush(tx, now);
    return absl::OkStatus();
  });
}

}  // namespace dstack::server
