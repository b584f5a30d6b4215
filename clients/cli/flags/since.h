#pragma once

#include <string_view>

#include <absl/status/statusor.h>

#include "google/protobuf/timestamp.pb.h"

#include "libs/base/clock.h"

namespace dstack::cli {

// `--since`: a duration back from now ("10m"), or an RFC 3339 time with a zone. The error message
// is the rule.
absl::StatusOr<google::protobuf::Timestamp> ParseSince(std::string_view text, base::WallTime now);

}  // namespace dstack::cli
