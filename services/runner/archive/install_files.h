#pragma once

#include <functional>
#include <string>

#include <absl/status/status.h>

#include "dstack/runner/v1/job.pb.h"

#include "services/runner/state/task_dir.h"

namespace dstack::runner {

// Unpacks all archives of the job to their places, for the job's user. What is at a destination is
// deleted first, unless the working directory or the home lies in it: then the archive is unpacked
// over it. `progress` gets a line per archive. May be repeated.
absl::Status InstallFiles(const v1::JobSpec& job,
                          const TaskDir& dir,
                          const std::string& initial_dir,
                          const std::function<void(const std::string&)>& progress);

}  // namespace dstack::runner
