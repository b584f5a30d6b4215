#pragma once

#include "services/runner/options.h"

namespace dstack::runner {

// `dstack-runner serve`: until the supervisor is gone or tells it to leave. Returns the exit
// status.
int RunServe(const ServeOptions& options);

// `dstack-runner deliver`: serves what the supervisor of a container that is gone left behind,
// until the server has acknowledged it or the task is removed. Returns the exit status.
int RunDeliver(const DeliverOptions& options);

}  // namespace dstack::runner
