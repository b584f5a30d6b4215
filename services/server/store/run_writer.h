#pragma once

#include <set>
#include <vector>

#include <pqxx/pqxx>

#include "absl/status/statusor.h"
#include "libs/base/uuid.h"
#include "services/server/domain/run/run_rollup.h"
#include "services/server/ports/run_store.h"
#include "services/server/store/outbox.h"
#include "services/server/store/secret_box.h"

// Reads and writes of run aggregates inside a transaction. Lock order everywhere: runs by id, then
// (under their run's lock) their jobs, then instances, then fleets. All row locks are
// FOR NO KEY UPDATE, which foreign keys of new rows do not wait for.
namespace dstack::server {

// All jobs of `run`, in the order of RunAndJobs.
absl::StatusOr<RunAndJobs> WithJobs(pqxx::work& tx, Run run);
absl::StatusOr<std::vector<RunAndJobs>> WithJobs(pqxx::work& tx, std::vector<Run> runs);

// Locks the run, and with it its jobs: nobody writes a job without holding its run.
// NOT_FOUND/RUN_NOT_FOUND.
absl::StatusOr<RunAndJobs> LockRun(pqxx::work& tx, const SecretBox& box, const RunId& id);
// NOT_FOUND/JOB_NOT_FOUND.
absl::StatusOr<RunAndJobs> LockRunOfJob(pqxx::work& tx, const SecretBox& box, const JobId& id);

// Position of a job in an aggregate; the job must be there.
std::size_t IndexOf(const std::vector<Job>& jobs, const JobId& id);

// Makes `change` and the changes of `jobs` durable: rows, version, events, notifications.
class RunWriter {
 public:
  // `actor`: user who asked; empty for the server itself.
  RunWriter(pqxx::work& tx, Outbox& outbox, UserId actor = UserId())
      : tx_(tx), outbox_(outbox), actor_(std::move(actor)) {}

  // `before` is what was locked, `jobs` the same jobs in the same order after the changes of the
  // caller to those named in `touched`. RollUp or StopRun gave `change` from `jobs`. Returns the
  // aggregate as stored.
  RunAndJobs Save(const RunAndJobs& before,
                  std::vector<Job> jobs,
                  std::set<JobId> touched,
                  const RunChange& change);

 private:
  void SaveJob(const Job& before, const Job& after);
  void AddRunEvent(const Run& before, const Run& after);

  pqxx::work& tx_;
  Outbox& outbox_;
  UserId actor_;
};

}  // namespace dstack::server
