#pragma once

#include <string>
#include <string_view>

#include <absl/status/statusor.h>

namespace dstack::shim {

// The program dstack-gpu-probe, which is carried inside the shim.
std::string_view EmbeddedProbe();

// Writes it to `path` with mode 0700, unless it is there already. Returns the path.
absl::StatusOr<std::string> InstallProbe(const std::string& path);

}  // namespace dstack::shim
