#pragma once

#include <optional>
#include <string>

#include <absl/status/statusor.h>

#include "dstack/config/v1/profile.pb.h"

#include "clients/cli/session/environment.h"

namespace dstack::cli {

// The profile for a run: `name` (--profile, else DSTACK_PROFILE), otherwise the one marked as
// default; none with `is_disabled` (--no-profile) or DSTACK_NO_PROFILE. Looked for in
// `.dstack/profiles.yml` of the working directory and then in that of the user. NOT_FOUND for a
// name that is in neither.
absl::StatusOr<std::optional<config::v1::Profile>> ChooseProfile(const Environment& environment,
                                                                 const std::string& name,
                                                                 bool is_disabled);

}  // namespace dstack::cli
