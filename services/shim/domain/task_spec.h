#pragma once

#include <string>
#include <string_view>
#include <vector>

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
  // Capabilities ("CAP_SYS_RESOURCE") that the kernel does not give to any container here.
  std::vector<std::string> missing_capabilities;
  // Paths that no task may mount, nor anything above or below them: the shim's home, the engine's
  // socket.
  std::vector<std::string> protected_paths;
};

// INVALID_ARGUMENT with all fields that are wrong, or that this host cannot serve, at once. Never
// shows a secret.
absl::Status ValidateSpec(const v1::TaskSpec& spec, const HostAbilities& host);

// The capability without "CAP_", as engines take it.
std::string_view BareCapability(std::string_view name);

// A path inside, at or above one of the protected ones would open them to the task. Both sides are
// compared as they are written: resolve symbolic links first where they matter.
bool TouchesProtectedPath(const std::string& path, const HostAbilities& host);

// A task id becomes a directory name: only UUIDs in lower case are taken.
bool IsTaskId(std::string_view text);

// The specs ask for the same, whatever the order in which they were serialized.
bool IsSameSpec(const v1::TaskSpec& a, const v1::TaskSpec& b);

}  // namespace dstack::shim
