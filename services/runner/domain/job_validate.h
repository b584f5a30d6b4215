#pragma once

#include <absl/status/status.h>

#include "dstack/runner/v1/job.pb.h"

namespace dstack::runner {

// Checks a job that came over the wire. INVALID_ARGUMENT/INVALID_FIELDS lists every wrong field.
absl::Status ValidateJob(const v1::JobSpec& job);

}  // namespace dstack::runner
