#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/base/ids.h"
#include "services/server/domain/job/job.h"
#include "services/server/domain/run/run.h"

namespace dstack::server {

// A run with the newest and the former submissions of its jobs, ordered by replica, job and
// submission.
struct RunAndJobs {
  Run run;
  std::vector<Job> jobs;
};

// Names a run: the newest of that name, or an id.
struct RunKey {
  std::string name;
  std::string id;
};

struct NewRun {
  Run run;  // id, spec, status SUBMITTED, name (empty: the store generates one)
  std::vector<Job>
      jobs;  // ids and positions; names are filled in by the store from the final run name
  std::string request_id;  // empty: no protection
  std::string request_digest;
  // Optimistic check of the plan; nullopt: forced.
  std::optional<std::string> expected_current_run_id;
};

struct RunFilter {
  ProjectId project_id;
  bool only_active = false;
  std::string user_name;
  std::uint32_t page_size = 100;
  std::string page_token;
};

struct RunPage {
  std::vector<RunAndJobs> runs;
  std::string next_page_token;
};

// Runs and their jobs as aggregates. Every write is one transaction that also raises Run::version,
// writes the events and sends the notifications; all methods may block on the database and are
// thread-safe. Common errors: UNAVAILABLE/DATABASE_UNAVAILABLE, ABORTED/LEASE_LOST (retry the whole
// use case).
class RunStore {
 public:
  virtual ~RunStore() = default;

  // Inserts a run; a finished one of that name is forgotten first. The same request_id gives the
  // run that it made (or INVALID_ARGUMENT/REQUEST_ID_REUSED if request_digest differs).
  // FAILED_PRECONDITION/RUN_ACTIVE, ABORTED/CHANGED_SINCE_PLAN.
  virtual absl::StatusOr<RunAndJobs> Insert(const NewRun& new_run) = 0;
  // Replaces the spec of an active run (in-place update).
  virtual absl::StatusOr<RunAndJobs> UpdateSpec(const RunId& id,
                                                std::uint64_t expected_version,
                                                const api::v1::RunSpec& spec,
                                                std::uint32_t priority) = 0;
  // NOT_FOUND/RUN_NOT_FOUND.
  virtual absl::StatusOr<RunAndJobs> Load(const ProjectId& project, const RunKey& key) = 0;
  virtual absl::StatusOr<RunAndJobs> LoadById(const RunId& id) = 0;
  virtual absl::StatusOr<RunPage> List(const RunFilter& filter) = 0;
  // Records the wish to end runs: run and live jobs go to TERMINATING (jobs without a host to their
  // final state), hosts are notified. Runs that have ended are left alone; an abort overrides a
  // stop. NOT_FOUND/RUN_NOT_FOUND names all missing ones and changes nothing.
  virtual absl::StatusOr<std::vector<RunAndJobs>> RequestStop(const ProjectId& project,
                                                              const std::vector<std::string>& names,
                                                              bool is_abort,
                                                              TimePoint now) = 0;
  virtual absl::Status Delete(const ProjectId& project,
                              const std::vector<std::string>& names,
                              bool allow_missing) = 0;

  // Runs whose next_wakeup_at has passed (database time) or that have a change no rollup has seen.
  // Claims each for `lease` so that no other replica takes it; Evaluate below gives it back.
  virtual absl::StatusOr<std::vector<RunId>> ClaimDue(std::size_t limit,
                                                      std::chrono::milliseconds lease) = 0;
  // Loads the run and its jobs FOR UPDATE, applies domain function RollUp at `now`, stores what it
  // decides. No effect on final runs.
  virtual absl::Status Evaluate(const RunId& id, TimePoint now) = 0;
};

}  // namespace dstack::server
