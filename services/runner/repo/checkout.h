#pragma once

#include <stop_token>
#include <string>
#include <vector>

#include <absl/status/status.h>

#include "dstack/runner/v1/job.pb.h"

#include "services/runner/repo/git.h"
#include "services/runner/state/task_dir.h"

namespace dstack::runner {

// What the checkout needs to know of its surroundings.
struct CheckoutContext {
  std::string initial_dir;           // working directory of the container
  std::string bundle_dir;            // tools; empty: none
  std::string shared_dir;            // for files that the job's user must read
  std::vector<std::string> proxies;  // NAME=value
};

// Puts the repository of the job in place as the job's user: clone at the commit with submodules,
// or an archive; then the diff. A directory that is not empty is an error or stays as it is, as the
// job says; one that an earlier, interrupted call left half done is begun anew. Errors tell the
// reason in words. Blocks; CANCELLED soon after the stop.
absl::Status InstallRepo(const v1::JobSpec& job,
                         const TaskDir& dir,
                         const CheckoutContext& context,
                         const ProgressSink& progress,
                         const std::stop_token& stop);

// Absolute directory of the job's repository.
absl::StatusOr<std::string> RepoDir(const v1::Repo& repo, const Places& places);

}  // namespace dstack::runner
