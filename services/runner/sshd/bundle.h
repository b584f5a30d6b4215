#pragma once

#include <string>
#include <vector>

#include <absl/status/statusor.h>

namespace dstack::runner {

// argv that runs `program` ("bin/git") of the bundle wherever it lies, through its own loader and
// libraries. `argv0`: the name that the program sees; empty: its path. NOT_FOUND without a loader.
absl::StatusOr<std::vector<std::string>> BundleCommand(const std::string& bundle_dir,
                                                       const std::string& program,
                                                       const std::string& argv0 = "");

}  // namespace dstack::runner
