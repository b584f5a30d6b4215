// `delete`, `run delete`.
#pragma once

#include <string>
#include <vector>

#include <absl/status/statusor.h>

#include "clients/cli/commands/context.h"

namespace dstack::cli {

struct DeleteOptions {
  std::string project;
  std::string file;
  bool yes = false;
};
// Deletes what the file names: a run that has ended, or a fleet, until it is gone.
absl::StatusOr<int> Delete(const Context& context, const DeleteOptions& options);

struct DeleteRunsOptions {
  std::string project;
  std::vector<std::string> names;
  bool yes = false;
};
absl::StatusOr<int> DeleteRuns(const Context& context, const DeleteRunsOptions& options);

}  // namespace dstack::cli
