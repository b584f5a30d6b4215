#include "services/server/store/run_writer.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "fmt/format.h"
#include "libs/base/status.h"
#include "libs/db/params.h"
#include "libs/db/rows.h"
#include "libs/db/statement.h"
#include "services/server/ports/notifications.h"
#include "services/server/store/job_rows.h"
#include "services/server/store/run_rows.h"

namespace dstack::server {
namespace {

void SortJobs(std::vector<Job>& jobs) {
  std::sort(jobs.begin(), jobs.end(), [](const Job& a, const Job& b) {
    return std::tie(a.replica_num, a.job_num, a.submission_num) <
           std::tie(b.replica_num, b.job_num, b.submission_num);
  });
}

// " (<reason>)", or nothing for none.
template <typename Reason>
std::string Suffix(Reason reason) {
  return static_cast<int>(reason) == 0 ? std::string() : fmt::format(" ({})", Name(reason));
}

}  // namespace

absl::StatusOr<RunAndJobs> WithJobs(pqxx::work& tx, Run run) {
  const auto rows = db::ExecPrepared(
      tx, std::string(kSelectJob) + "WHERE j.run_id = $1" + kJobOrder, run.id.str());
  ASSIGN_OR_RETURN(std::vector<Job> jobs, JobsFromRows(rows));
  return RunAndJobs{std::move(run), std::move(jobs)};
}

absl::StatusOr<std::vector<RunAndJobs>> WithJobs(pqxx::work& tx, std::vector<Run> runs) {
  std::vector<RunId> ids;
  for (const Run& run : runs) ids.push_back(run.id);
  const auto rows =
      db::ExecPrepared(tx,
                       std::string(kSelectJob) + "WHERE j.run_id = ANY($1::uuid[])" + kJobOrder,
                       db::IdArray(ids));
  ASSIGN_OR_RETURN(std::vector<Job> jobs, JobsFromRows(rows));
  std::map<RunId, std::vector<Job>> by_run;
  for (Job& job : jobs) by_run[job.run_id].push_back(std::move(job));
  std::vector<RunAndJobs> result;
  for (Run& run : runs) {
    std::vector<Job> jobs_of_run = std::move(by_run[run.id]);
    result.push_back({std::move(run), std::move(jobs_of_run)});
  }
  return result;
}

absl::StatusOr<RunAndJobs> LockRun(pqxx::work& tx, const SecretBox& box, const RunId& id) {
  const auto rows = db::ExecPrepared(
      tx, std::string(kSelectRun) + "WHERE r.id = $1 FOR NO KEY UPDATE OF r", id.str());
  if (rows.empty()) return RunNotFound(id.str());
  ASSIGN_OR_RETURN(Run run, RunFromRow(box, rows[0]));
  // A statement of its own: its snapshot is younger than the lock.
  return WithJobs(tx, std::move(run));
}

absl::StatusOr<RunAndJobs> LockRunOfJob(pqxx::work& tx, const SecretBox& box, const JobId& id) {
  const auto rows = db::ExecPrepared(tx,
                                     std::string(kSelectRun) +
                                         "WHERE r.id = (SELECT run_id FROM jobs WHERE id = $1)"
                                         " FOR NO KEY UPDATE OF r",
                                     id.str());
  if (rows.empty()) return JobNotFound(id);
  ASSIGN_OR_RETURN(Run run, RunFromRow(box, rows[0]));
  return WithJobs(tx, std::move(run));
}

std::size_t IndexOf(const std::vector<Job>& jobs, const JobId& id) {
  const auto found =
      std::find_if(jobs.begin(), jobs.end(), [&](const Job& job) { return job.id == id; });
  return static_cast<std::size_t>(found - jobs.begin());
}

void RunWriter::AddRunEvent(const Run& before, const Run& after) {
  if (before.status == after.status) return;
  outbox_.AddEvent(after.project_id,
                   {"run", after.id.str(), after.name},
                   fmt::format("run status: {} -> {}{}",
                               Name(before.status),
                               Name(after.status),
                               Suffix(after.termination_reason)),
                   actor_);
}

void RunWriter::SaveJob(const Job& before, const Job& after) {
  UpdateJob(tx_, after);
  if (before.status != after.status) {
    outbox_.AddEvent(after.project_id,
                     {"job", after.id.str(), after.name},
                     fmt::format("job status: {} -> {}{}",
                                 Name(before.status),
                                 Name(after.status),
                                 Suffix(after.termination_reason)),
                     actor_);
  }
  const bool is_wish_new = after.status == api::v1::JOB_STATUS_TERMINATING &&
                           (before.status != after.status || before.stop_grace != after.stop_grace);
  const bool is_assigned = before.is_released && !after.is_released;
  if (after.instance_id && (is_wish_new || is_assigned)) {
    outbox_.Notify(channel::kHost, after.instance_id->str());
  }
  if (!before.is_released && after.is_released) outbox_.Notify(channel::kWork, "jobs");
}

RunAndJobs RunWriter::Save(const RunAndJobs& before,
                           std::vector<Job> jobs,
                           std::set<JobId> touched,
                           const RunChange& change) {
  for (const Job& changed : change.changed_jobs) {
    jobs[IndexOf(jobs, changed.id)] = changed;
    touched.insert(changed.id);
  }
  RunAndJobs after{change.run, {}};
  after.run.version = before.run.version + 1;
  UpdateRun(tx_, after.run);
  AddRunEvent(before.run, after.run);
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    if (touched.contains(jobs[i].id)) SaveJob(before.jobs[i], jobs[i]);
  }
  for (const Job& job : change.new_jobs) {
    InsertJob(tx_, job, after.run.priority);
    jobs.push_back(job);
    outbox_.Notify(channel::kWork, "jobs");
  }
  // Leaving PENDING makes waiting jobs eligible.
  if (before.run.status == api::v1::RUN_STATUS_PENDING && before.run.status != after.run.status) {
    outbox_.Notify(channel::kWork, "jobs");
  }
  outbox_.Notify(channel::kRun, after.run.id.str());
  SortJobs(jobs);
  after.jobs = std::move(jobs);
  return after;
}

}  // namespace dstack::server
