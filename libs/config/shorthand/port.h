// Port mappings: `8000`, `80:8000`, `*:8000`.
#pragma once

#include <string>
#include <string_view>

#include <absl/status/statusor.h>

#include "dstack/config/v1/run.pb.h"

namespace dstack::config {

// `P` is the same port on both sides, `L:P` local and container port, `*:P` any free local port.
// The error message is the rule, here and below.
absl::StatusOr<v1::PortMapping> ParsePort(std::string_view text);

// The port of a service: `P` stands for `80:P`, and `*` is refused.
absl::StatusOr<v1::PortMapping> ParseServicePort(std::string_view text);

// `8000`, `80:8000` or `*:8000`.
std::string FormatPort(const v1::PortMapping& port);

}  // namespace dstack::config
