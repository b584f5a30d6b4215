// JSON Schema (draft 2020-12) of the documents, for editors. Made from the messages, their reading
// rules and their comments, so that it cannot differ from what the reader accepts; shorthands are
// alternatives beside the mapping form.
#pragma once

#include <string>
#include <vector>

#include <absl/status/statusor.h>
#include <nlohmann/json_fwd.hpp>

namespace dstack::config {

// The types that JsonSchema knows: those of configurations, then `profiles`, `client-config` and
// `server-config`.
std::vector<std::string> SchemaTypes();

// The schema of one type; "": of any configuration, by its key `type`. INVALID_ARGUMENT for another
// word.
absl::StatusOr<nlohmann::ordered_json> JsonSchema(const std::string& type);

}  // namespace dstack::config
