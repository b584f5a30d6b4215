// The documents that users write: configurations to apply, profiles, and the settings of the
// client.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <absl/status/statusor.h>

#include "dstack/config/v1/client.pb.h"
#include "dstack/config/v1/fleet.pb.h"
#include "dstack/config/v1/profile.pb.h"
#include "dstack/config/v1/run.pb.h"

#include "libs/config/problem.h"

namespace dstack::config {

struct Document {
  std::variant<v1::RunConfiguration, v1::FleetConfiguration> configuration;
  std::vector<Problem> warnings;  // duplicate keys and the like; FormatProblem makes text of them
};

// Reads a configuration; the key `type` selects its kind. All problems, of grammar and of meaning,
// come back together: INVALID_ARGUMENT with a violation per field (base::FieldViolations) and a
// message that shows each with its line. `file_name` is used in messages alone. Defaults are not
// filled in, see ApplyDefaults.
absl::StatusOr<Document> ParseDocument(std::string_view text, const std::string& file_name);

// Reads `profiles.yml`. Errors as above.
absl::StatusOr<v1::ProfilesFile> ParseProfiles(std::string_view text, const std::string& file_name);

// Reads `~/.dstack/config.yml`; an empty document is an empty configuration. Errors as above, and
// never with a token.
absl::StatusOr<v1::ClientConfig> ParseClientConfig(std::string_view text,
                                                   const std::string& file_name);

// YAML that ParseClientConfig reads back. Holds tokens: for a file with mode 0600 and nothing else.
std::string PrintClientConfig(const v1::ClientConfig& config);

}  // namespace dstack::config
