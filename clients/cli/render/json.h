// Messages as JSON for programs and people.
#pragma once

#include <string>
#include <vector>

#include <google/protobuf/message.h>

namespace dstack::cli {

// The message with two blanks of indentation and a line end: fields by their proto names; enum
// values as lower-case words without the prefix of their type ("done"); timestamps in RFC 3339 and
// durations as in proto3 JSON; 64-bit numbers as numbers; bytes in base64. Fields without presence
// are always there, unset optional fields and messages are left out.
std::string ToJson(const google::protobuf::Message& message);

// {"project": "<project>", "<list_name>": [...]}, in the same form.
std::string ToJsonList(const std::string& project,
                       const std::string& list_name,
                       const std::vector<const google::protobuf::Message*>& items);

}  // namespace dstack::cli
