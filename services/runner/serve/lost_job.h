#pragma once

#include <absl/status/statusor.h>

#include "dstack/runner/v1/job.pb.h"

#include "libs/base/clock.h"
#include "services/runner/state/task_dir.h"

namespace dstack::runner {

// The final status of a job whose supervisor is gone, from the files that it left; the same one at
// every call. When the end of the command was not recorded the job is LOST, and a line in the
// runner's log says so. Nobody else may write to the directory.
absl::StatusOr<v1::JobStatus> ConcludeJob(const TaskDir& dir, const base::Clock& clock);

}  // namespace dstack::runner
