#pragma once

#include <optional>

#include "dstack/runner/v1/metrics.pb.h"

namespace dstack::runner {

// One sample of the cgroup and network that this process is in, without accelerators. Nothing where
// it cannot be read, and nothing for the root cgroup: that would be the whole machine.
std::optional<v1::JobMetrics> SampleCgroup();

}  // namespace dstack::runner
