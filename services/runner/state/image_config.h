#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <absl/status/statusor.h>

namespace dstack::runner {

// What the image says about its process; written by the shim, which hides it behind our own
// entrypoint.
struct ImageConfig {
  std::vector<std::string> entrypoint;
  std::vector<std::string> cmd;
  std::string user;

  // Entrypoint and command in one; empty when the image has none.
  std::vector<std::string> Command() const;
};

// Parses {"entrypoint": [...], "cmd": [...], "user": "..."}; missing and null members are empty.
absl::StatusOr<ImageConfig> ParseImageConfig(std::string_view json);

// A missing file is an empty config: hosts without images have none.
absl::StatusOr<ImageConfig> LoadImageConfig(const std::string& path);

}  // namespace dstack::runner
