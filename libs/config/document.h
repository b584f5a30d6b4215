// The documents that users write: configurations to apply, profiles, and the settings of client and
// server.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <absl/status/statusor.h>

#include "dstack/config/v1/client.pb.h"
#include "dstack/config/v1/fleet.pb.h"
#include "dstack/config/v1/gateway.pb.h"
#include "dstack/config/v1/preset.pb.h"
#include "dstack/config/v1/profile.pb.h"
#include "dstack/config/v1/run.pb.h"
#include "dstack/config/v1/server.pb.h"
#include "dstack/config/v1/template.pb.h"
#include "dstack/config/v1/volume.pb.h"

#include "libs/config/problem.h"

namespace dstack::config {

// What the key `type` of a document can select.
using Configuration = std::variant<v1::RunConfiguration,
                                   v1::FleetConfiguration,
                                   v1::GatewayConfiguration,
                                   v1::VolumeConfiguration,
                                   v1::PresetConfiguration,
                                   v1::TemplateConfiguration>;

struct Document {
  Configuration configuration;
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

// Reads `config.yml` of the server; an empty document is an empty configuration. Errors as above,
// and never with a secret.
absl::StatusOr<v1::ServerConfig> ParseServerConfig(std::string_view text,
                                                   const std::string& file_name);

// Any document that there is: what ParseDocument reads, and files without `type`.
struct AnyDocument {
  std::variant<Configuration, v1::ProfilesFile, v1::ClientConfig, v1::ServerConfig> content;
  std::vector<Problem> warnings;
};

// Decides by the keys of a file without `type` whether it is one of profiles (`profiles`), the
// settings of a client (`projects` with an `url` or `token`) or of a server. Errors as above.
absl::StatusOr<AnyDocument> ParseAnyDocument(std::string_view text, const std::string& file_name);

// The same, with what is wrong as data. `document` is there exactly when `problems` is empty; these
// are in the order of the text.
struct CheckedDocument {
  std::optional<AnyDocument> document;
  std::vector<Problem> problems;
  std::vector<Problem> warnings;
};
CheckedDocument CheckDocument(std::string_view text, const std::string& file_name);

// "task", "dev-environment", "service", "fleet", "gateway", "volume", "preset", "template".
std::string TypeOf(const Configuration& configuration);
// The same, or "profiles", "client-config", "server-config".
std::string TypeOf(const AnyDocument& document);

const google::protobuf::Message& MessageOf(const Configuration& configuration);
const google::protobuf::Message& MessageOf(const AnyDocument& document);

// YAML that ParseClientConfig reads back. Holds tokens: for a file with mode 0600 and nothing else.
std::string PrintClientConfig(const v1::ClientConfig& config);

}  // namespace dstack::config
