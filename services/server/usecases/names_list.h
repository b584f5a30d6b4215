#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace dstack::server {

// The names of a batch request: 1 to 100, none empty; repeated ones are dropped. `field` is the
// path for the error.
absl::StatusOr<std::vector<std::string>> CheckNames(const std::string& field,
                                                    const std::vector<std::string>& names);

}  // namespace dstack::server
