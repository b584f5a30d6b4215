#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "dstack/api/v1/run.pb.h"

#include "absl/status/statusor.h"
#include "libs/base/clock.h"
#include "libs/base/uuid.h"
#include "libs/rpc/caller.h"
#include "services/server/domain/offer/match.h"
#include "services/server/ports/file_store.h"
#include "services/server/ports/fleet_store.h"
#include "services/server/ports/identity_store.h"
#include "services/server/ports/instance_store.h"
#include "services/server/ports/run_store.h"
#include "services/server/usecases/spec_diff.h"

namespace dstack::server {

// A spec as it will be stored: all defaults, the submitter's key. Checks everything that does not
// depend on what runs now, also that the files have been uploaded where `files` is given.
// INVALID_ARGUMENT/INVALID_FIELDS.
absl::StatusOr<api::v1::RunSpec> PrepareSpec(IdentityStore& identities,
                                             FileStore* files,
                                             const rpc::Caller& caller,
                                             const api::v1::RunSpec& spec);

// What applying a spec would do.
struct RunProposal {
  api::v1::RunSpec effective_spec;
  // One per kind of job.
  struct JobProposal {
    std::string job_name;
    Matches matches;
  };
  std::vector<JobProposal> jobs;
  std::optional<RunAndJobs> current_run;  // active one of that name
  api::v1::ApplyAction action = api::v1::APPLY_ACTION_CREATE;
  std::vector<SpecChange> changes;
  bool has_no_fleets = false;
};

// Use cases of runs. Thread-safe, blocking; the stores outlive it.
class RunUseCases {
 public:
  RunUseCases(RunStore& runs,
              InstanceStore& instances,
              FleetStore& fleets,
              FileStore& files,
              IdentityStore& identities,
              const base::Clock& clock,
              base::IdSource& ids);

  absl::StatusOr<RunProposal> Plan(const rpc::Caller& caller,
                                   const Project& project,
                                   const api::v1::RunSpec& spec,
                                   const MatchOptions& options);

  struct Application {
    api::v1::RunSpec spec;
    std::string request_id;
    std::string request_digest;
    // What the plan showed; ignored when forced.
    std::string current_run_id;
    std::uint64_t current_run_version = 0;
    bool is_forced = false;
  };
  // Submits a run, or updates the active one of that name in place.
  absl::StatusOr<RunAndJobs> Apply(const rpc::Caller& caller,
                                   const Project& project,
                                   const Application& application);

  // Names: 1 to 100, repeated ones count once.
  absl::StatusOr<std::vector<RunAndJobs>> Stop(const Project& project,
                                               const std::vector<std::string>& names,
                                               bool is_abort);
  absl::Status Delete(const Project& project,
                      const std::vector<std::string>& names,
                      bool allow_missing);

 private:
  absl::StatusOr<std::vector<Instance>> LoadInstances(const Project& project);
  absl::StatusOr<std::optional<RunAndJobs>> FindActive(const Project& project,
                                                       const std::string& name);
  NewRun MakeRun(const rpc::Caller& caller,
                 const Project& project,
                 const api::v1::RunSpec& spec,
                 const Application& application);
  absl::StatusOr<RunAndJobs> UpdateActive(const Project& project,
                                          const api::v1::RunSpec& spec,
                                          const Application& application);

  RunStore& runs_;
  InstanceStore& instances_;
  FleetStore& fleets_;
  FileStore& files_;
  IdentityStore& identities_;
  const base::Clock& clock_;
  base::IdSource& ids_;
};

}  // namespace dstack::server
