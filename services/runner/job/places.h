#pragma once

#include <optional>
#include <string>

#include <absl/status/statusor.h>

#include "dstack/runner/v1/job.pb.h"

#include "services/runner/job/user_lookup.h"
#include "services/runner/state/image_config.h"

namespace dstack::runner {

// Who runs the command and where.
struct Places {
  JobUser user;
  // False: this process may not change users, `user` is its own one.
  bool can_switch = true;
  // Set when the job asked for another user than it gets.
  std::string user_note;
  std::string working_dir;
};

// Resolves user and working directory against this container's files. `initial_dir` is the working
// directory of the container. Nothing is created.
absl::StatusOr<Places> ResolvePlaces(const v1::JobSpec& job,
                                     const ImageConfig& image,
                                     const std::string& initial_dir);

// True when this process has CAP_SETUID, CAP_SETGID and CAP_CHOWN in effect.
bool CanSwitchUser();

}  // namespace dstack::runner
