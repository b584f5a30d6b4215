#pragma once

#include <string>
#include <string_view>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "services/runner/job/user_lookup.h"

namespace dstack::runner {

// Absolute form of `path`: "~" and "~/x" are below `home`, a relative one below `base`, an empty
// one is `base`. "." and ".." are resolved by name. INVALID_ARGUMENT for "~name".
absl::StatusOr<std::string> ResolvePath(std::string_view path,
                                        std::string_view base,
                                        std::string_view home);

// Makes the directory and its parents (0755); each one made belongs to the user. OK true: something
// was made. FAILED_PRECONDITION when something else is in its place.
absl::StatusOr<bool> MakeDirsFor(const std::string& path, const JobUser& user);

}  // namespace dstack::runner
