#pragma once

#include <string>
#include <string_view>

#include <absl/status/status.h>

#include "dstack/shim/v1/task.pb.h"

namespace dstack::shim {

// What a host can run.
struct HostAbilities {
  bool has_images = false;
  bool has_base_image = false;
  bool has_privileged = false;
  bool has_mounts = false;
  // Why privileged tasks are refused, for the message; for example a missing capability.
  std::string privileged_hint;
};

// INVALID_ARGUMENT with all fields that are wrong, or that this host cannot serve, at once. Never
// shows a secret.
absl::Status ValidateSpec(const v1::TaskSpec& spec, const HostAbilities& host);

// A task id becomes a directory name: only UUIDs in lower case are taken.
bool IsTaskId(std::string_view text);

// The specs ask for the same, whatever the order in which they were serialized.
bool IsSameSpec(const v1::TaskSpec& a, const v1::TaskSpec& b);

}  // namespace dstack::shim
