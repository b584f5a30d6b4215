// Environment variables: `NAME=value`, or `NAME` to be taken from the environment of the client.
#pragma once

#include <string_view>

#include <absl/status/statusor.h>

#include "dstack/config/v1/run.pb.h"

namespace dstack::config {

// The value is everything after the first `=` and has no line end. The error message is the rule
// and never shows the value.
absl::StatusOr<v1::EnvVar> ParseEnvVar(std::string_view text);

}  // namespace dstack::config
