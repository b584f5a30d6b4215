#include "services/server/store/postgres_run_store.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_join.h"
#include "fmt/format.h"
#include "libs/base/status.h"
#include "libs/db/params.h"
#include "libs/db/rows.h"
#include "libs/failpoint/failpoint.h"
#include "services/server/domain/spec/names.h"
#include "services/server/ports/notifications.h"
#include "services/server/store/enums.h"
#include "services/server/store/job_rows.h"
#include "services/server/store/page_token.h"
#include "services/server/store/random_names.h"
#include "services/server/store/requests.h"
#include "services/server/store/run_rows.h"
#include "services/server/store/run_writer.h"

namespace dstack::server {
namespace {

constexpr int kNameAttempts = 5;

bool IsNameRace(const absl::Status& status) {
  return base::Metadata(status)["constraint"] == "runs_known_name";
}

absl::Status ChangedSincePlan(const std::string& message) {
  return base::Error(absl::StatusCode::kAborted, "CHANGED_SINCE_PLAN", message);
}

// All missing names at once.
absl::Status AllFound(const std::vector<std::string>& names,
                      const std::map<std::string, Run>& found) {
  std::vector<std::string> missing;
  for (const std::string& name : names) {
    if (!found.contains(name)) missing.push_back(name);
  }
  return missing.empty() ? absl::OkStatus() : RunNotFound(absl::StrJoin(missing, ", "));
}

}  // namespace

absl::StatusOr<RunAndJobs> PostgresRunStore::LoadInside(pqxx::work& tx, const RunId& id) {
  const auto rows = tx.exec_params(std::string(kSelectRun) + "WHERE r.id = $1", id.str());
  if (rows.empty()) return RunNotFound(id.str());
  ASSIGN_OR_RETURN(Run run, RunFromRow(context_.box, rows[0]));
  return WithJobs(tx, std::move(run));
}

absl::StatusOr<std::string> PostgresRunStore::TakeName(pqxx::work& tx, const NewRun& new_run) {
  const std::string project = new_run.run.project_id.str();
  if (new_run.run.name.empty()) {
    const std::string pair = RandomPair(random_);
    std::vector<std::string> taken;
    for (const auto& row :
         tx.exec_params("SELECT name FROM runs WHERE project_id = $1 AND name >= $2 AND name < $3"
                        " AND forgotten_at IS NULL",
                        project,
                        pair + "-",
                        pair + "-:")) {
      taken.push_back(db::Text(row["name"]));
    }
    return LowestFreeName(pair, taken);
  }
  const std::string& name = new_run.run.name;
  const auto rows = tx.exec_params(
      "SELECT id, status FROM runs WHERE project_id = $1 AND name = $2 AND forgotten_at IS NULL"
      " FOR NO KEY UPDATE",
      project,
      name);
  const bool exists = !rows.empty();
  const bool is_active = exists && !IsFinal(FromWord<RunStatus>(db::TextView(rows[0]["status"])));
  if (new_run.expected_current_run_id) {
    const std::string current = is_active ? db::Text(rows[0]["id"]) : std::string();
    if (*new_run.expected_current_run_id != current) {
      return ChangedSincePlan(fmt::format("run '{}' changed since the plan was made", name));
    }
  }
  if (is_active) {
    return base::Error(absl::StatusCode::kFailedPrecondition,
                       "RUN_ACTIVE",
                       fmt::format("run '{}' is still active: stop it first", name),
                       {{"run_name", name}});
  }
  if (exists) {
    tx.exec_params0("UPDATE runs SET forgotten_at = now() WHERE id = $1", db::Text(rows[0]["id"]));
  }
  return name;
}

absl::StatusOr<RunAndJobs> PostgresRunStore::TryInsert(pqxx::work& tx, const NewRun& new_run) {
  ASSIGN_OR_RETURN(
      const auto first,
      RecordRequest(
          tx,
          {new_run.run.project_id, new_run.run.user_id, new_run.request_id, new_run.request_digest},
          new_run.run.id.str()));
  if (first) return LoadInside(tx, RunId(*first));
  RunAndJobs made{new_run.run, new_run.jobs};
  ASSIGN_OR_RETURN(made.run.name, TakeName(tx, new_run));
  made.run.spec.set_run_name(made.run.name);
  InsertRun(tx, context_.box, made.run);
  for (Job& job : made.jobs) {
    job.run_id = made.run.id;
    job.project_id = made.run.project_id;
    job.name = JobName(made.run.name, job.job_num, job.replica_num);
    job.submitted_at = made.run.submitted_at;
    InsertJob(tx, job, made.run.priority);
  }
  Outbox outbox;
  outbox.AddEvent(made.run.project_id,
                  {"run", made.run.id.str(), made.run.name},
                  "run submitted",
                  made.run.user_id);
  outbox.Notify(channel::kWork, "jobs");
  outbox.Notify(channel::kRun, made.run.id.str());
  outbox.Flush(tx, made.run.submitted_at);
  FAILPOINT("server.run_before_commit");
  return made;
}

absl::StatusOr<RunAndJobs> PostgresRunStore::Insert(const NewRun& new_run) {
  for (int attempt = 0;; ++attempt) {
    auto made = Transact(context_, [&](pqxx::work& tx) { return TryInsert(tx, new_run); });
    // Somebody else took the name meanwhile: look at what is there now.
    if (!IsNameRace(made.status()) || attempt == kNameAttempts) {
      FAILPOINT("server.run_after_insert");
      if (!made.ok()) return made.status();
      if (!made->run.project_name.empty()) return made;
      return LoadById(made->run.id);
    }
  }
}

absl::StatusOr<RunAndJobs> PostgresRunStore::UpdateSpec(const RunId& id,
                                                        std::uint64_t expected_version,
                                                        const api::v1::RunSpec& spec,
                                                        std::uint32_t priority) {
  return Transact(context_, [&](pqxx::work& tx) -> absl::StatusOr<RunAndJobs> {
    ASSIGN_OR_RETURN(RunAndJobs before, LockRun(tx, context_.box, id));
    if (before.run.version != expected_version) {
      return ChangedSincePlan(
          fmt::format("run '{}' changed since the plan was made: version {} "
                      "instead of {}",
                      before.run.name,
                      before.run.version,
                      expected_version));
    }
    if (IsFinal(before.run.status) || before.run.status == api::v1::RUN_STATUS_TERMINATING) {
      return base::Error(
          absl::StatusCode::kFailedPrecondition,
          "INVALID_STATE",
          fmt::format(
              "run '{}' is {} and takes no update", before.run.name, Name(before.run.status)),
          {{"from", Name(before.run.status)}, {"event", "update"}});
    }
    const TimePoint now = context_.clock.Now();
    Run changed = before.run;
    changed.spec = spec;
    changed.spec.set_run_name(changed.name);
    changed.priority = priority;
    tx.exec_params0("UPDATE runs SET spec = $2, priority = $3 WHERE id = $1",
                    id.str(),
                    db::Bytes(SealRunSpec(context_.box, id, changed.spec)),
                    priority);
    tx.exec_params0("UPDATE jobs SET priority = $2 WHERE run_id = $1 AND status = 'submitted'",
                    id.str(),
                    priority);
    Outbox outbox;
    outbox.AddEvent(changed.project_id, {"run", id.str(), changed.name}, "run updated");
    outbox.Notify(channel::kWork, "jobs");
    // A new max_duration may move the next wake-up.
    const RunChange change = RollUp(changed, before.jobs, now, context_.ids);
    RunAndJobs after = RunWriter(tx, outbox).Save(before, before.jobs, {}, change);
    outbox.Flush(tx, now);
    return after;
  });
}

absl::StatusOr<RunAndJobs> PostgresRunStore::Load(const ProjectId& project, const RunKey& key) {
  // An id that is none is simply not found.
  if (key.name.empty() && !base::IsUuid(key.id)) return RunNotFound(key.id);
  return Transact(context_, [&](pqxx::work& tx) -> absl::StatusOr<RunAndJobs> {
    const bool by_name = !key.name.empty();
    const auto rows = tx.exec_params(std::string(kSelectRun) +
                                         "WHERE r.project_id = $1 AND r.forgotten_at IS NULL AND " +
                                         (by_name ? "r.name = $2" : "r.id = $2"),
                                     project.str(),
                                     by_name ? db::CleanText(key.name) : key.id);
    if (rows.empty()) return RunNotFound(by_name ? key.name : key.id);
    ASSIGN_OR_RETURN(Run run, RunFromRow(context_.box, rows[0]));
    return WithJobs(tx, std::move(run));
  });
}

absl::StatusOr<RunAndJobs> PostgresRunStore::LoadById(const RunId& id) {
  if (!base::IsUuid(id.str())) return RunNotFound(id.str());
  return Transact(context_, [&](pqxx::work& tx) { return LoadInside(tx, id); });
}

absl::StatusOr<RunPage> PostgresRunStore::List(const RunFilter& filter) {
  // After the last row of the page before: submission time and id.
  std::vector<std::string> after = {"infinity", "ffffffff-ffff-ffff-ffff-ffffffffffff"};
  if (!filter.page_token.empty()) {
    ASSIGN_OR_RETURN(after, DecodePageToken(filter.page_token, 2));
  }
  std::string sql = std::string(kSelectRun) +
                    "WHERE r.project_id = $1 AND r.forgotten_at IS NULL"
                    " AND (r.submitted_at, r.id) < ($2::timestamptz, $3::uuid)";
  if (filter.only_active) sql += " AND r.status NOT IN ('terminated', 'failed', 'done')";
  sql += filter.user_name.empty() ? " AND $4 = ''"
                                  : " AND r.user_id = (SELECT id FROM users WHERE name = $4)";
  sql += " ORDER BY r.submitted_at DESC, r.id DESC LIMIT $5";
  return Transact(context_, [&](pqxx::work& tx) -> absl::StatusOr<RunPage> {
    // One row more than asked for tells whether there is a next page.
    const auto rows = tx.exec_params(sql,
                                     filter.project_id.str(),
                                     after[0],
                                     after[1],
                                     db::CleanText(filter.user_name),
                                     filter.page_size + 1);
    ASSIGN_OR_RETURN(std::vector<Run> runs, RunsFromRows(context_.box, rows));
    RunPage page;
    if (runs.size() > filter.page_size) {
      runs.pop_back();
      page.next_page_token =
          EncodePageToken({db::TimeLiteral(runs.back().submitted_at), runs.back().id.str()});
    }
    ASSIGN_OR_RETURN(page.runs, WithJobs(tx, std::move(runs)));
    return page;
  });
}

absl::StatusOr<std::vector<RunAndJobs>> PostgresRunStore::RequestStop(
    const ProjectId& project, const std::vector<std::string>& names, bool is_abort, TimePoint now) {
  return Transact(context_, [&](pqxx::work& tx) -> absl::StatusOr<std::vector<RunAndJobs>> {
    std::vector<std::string> clean;
    for (const std::string& name : names) clean.push_back(db::CleanText(name));
    const auto rows = tx.exec_params(
        std::string(kSelectRun) +
            "WHERE r.project_id = $1 AND r.name = ANY($2::text[]) AND r.forgotten_at IS NULL"
            " ORDER BY r.id FOR NO KEY UPDATE OF r",
        project.str(),
        db::ArrayLiteral(clean));
    ASSIGN_OR_RETURN(std::vector<Run> runs, RunsFromRows(context_.box, rows));
    std::map<std::string, Run> by_name;
    for (Run& run : runs) by_name[run.name] = std::move(run);
    RETURN_IF_ERROR(AllFound(names, by_name));

    Outbox outbox;
    outbox.Notify(channel::kWork, "runs");
    std::map<std::string, RunAndJobs> stopped;
    for (auto& [name, run] : by_name) {
      ASSIGN_OR_RETURN(RunAndJobs before, WithJobs(tx, run));
      const RunChange change = StopRun(before.run, before.jobs, is_abort, now);
      stopped[name] = change.is_changed
                          ? RunWriter(tx, outbox).Save(before, before.jobs, {}, change)
                          : std::move(before);
    }
    outbox.Flush(tx, now);
    std::vector<RunAndJobs> result;
    for (const std::string& name : names) result.push_back(stopped[name]);
    return result;
  });
}

absl::Status PostgresRunStore::Delete(const ProjectId& project,
                                      const std::vector<std::string>& names,
                                      bool allow_missing) {
  const auto deleted = Transact(context_, [&](pqxx::work& tx) -> absl::Status {
    std::vector<std::string> clean;
    for (const std::string& name : names) clean.push_back(db::CleanText(name));
    const auto rows = tx.exec_params(
        std::string(kSelectRun) +
            "WHERE r.project_id = $1 AND r.name = ANY($2::text[]) AND r.forgotten_at IS NULL"
            " ORDER BY r.id FOR NO KEY UPDATE OF r",
        project.str(),
        db::ArrayLiteral(clean));
    ASSIGN_OR_RETURN(std::vector<Run> runs, RunsFromRows(context_.box, rows));
    std::map<std::string, Run> by_name;
    std::vector<RunId> ids;
    std::vector<std::string> active;
    Outbox outbox;
    for (Run& run : runs) {
      if (!IsFinal(run.status)) active.push_back(run.name);
      ids.push_back(run.id);
      outbox.AddEvent(project, {"run", run.id.str(), run.name}, "run deleted");
      outbox.Notify(channel::kRun, run.id.str());
      by_name[run.name] = std::move(run);
    }
    if (!allow_missing) RETURN_IF_ERROR(AllFound(names, by_name));
    if (!active.empty()) {
      return base::Error(
          absl::StatusCode::kFailedPrecondition,
          "RUN_ACTIVE",
          fmt::format("still active: {}. Stop them first", absl::StrJoin(active, ", ")));
    }
    tx.exec_params0(
        "UPDATE runs SET forgotten_at = now(), version = version + 1 WHERE id = ANY($1::uuid[])",
        db::IdArray(ids));
    outbox.Flush(tx, context_.clock.Now());
    return absl::OkStatus();
  });
  return deleted;
}

absl::StatusOr<std::vector<RunId>> PostgresRunStore::ClaimDue(std::size_t limit,
                                                              std::chrono::milliseconds lease) {
  return Transact(context_, [&](pqxx::work& tx) -> absl::StatusOr<std::vector<RunId>> {
    std::vector<RunId> ids;
    for (const auto& row : tx.exec_params(
             "UPDATE runs SET claimed_until = now() + $2 * interval '1 millisecond' WHERE id IN ("
             "  SELECT id FROM runs WHERE next_wakeup_at <= now()"
             "  AND (claimed_until IS NULL OR claimed_until < now())"
             "  ORDER BY next_wakeup_at LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED) RETURNING id",
             limit,
             static_cast<std::int64_t>(lease.count()))) {
      ids.push_back(RunId(db::Text(row["id"])));
    }
    return ids;
  });
}

absl::Status PostgresRunStore::Evaluate(const RunId& id, TimePoint now) {
  return Transact(context_, [&](pqxx::work& tx) -> absl::Status {
    ASSIGN_OR_RETURN(const RunAndJobs before, LockRun(tx, context_.box, id));
    const RunChange change = RollUp(before.run, before.jobs, now, context_.ids);
    // Unchanged: the claim runs out by itself and the run is looked at again after it. Giving it
    // back at once would make a run that waits for its jobs spin.
    if (!change.is_changed) return absl::OkStatus();
    Outbox outbox;
    RunWriter(tx, outbox).Save(before, before.jobs, {}, change);
    outbox.Flush(tx, now);
    return absl::OkStatus();
  });
}

}  // namespace dstack::server
