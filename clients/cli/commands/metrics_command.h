// `metrics`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <absl/status/statusor.h>

#include "clients/cli/commands/context.h"

namespace dstack::cli {

struct MetricsOptions {
  std::string project;
  std::string name;
  bool watch = false;
  // Absent: all.
  std::optional<uint32_t> replica;
  std::optional<uint32_t> job;
};
// What the jobs of a run use, over the last hour that is known.
absl::StatusOr<int> Metrics(const Context& context, const MetricsOptions& options);

}  // namespace dstack::cli
