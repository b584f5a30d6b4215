#pragma once

#include <string>

#include <absl/status/statusor.h>

namespace dstack::runner {

// Makes a directory whose files the job's user can read, and returns its path: `preferred`; with a
// read-only root, where that cannot be made, one in memory whose name nobody could take before;
// else `last_resort`, into which perhaps only root can look.
absl::StatusOr<std::string> MakeVisibleDir(const std::string& preferred,
                                           const std::string& last_resort);

}  // namespace dstack::runner
