// The canonical form of documents (stable and complete): sizes in GB, durations in seconds, ranges
// as {min, max}, shorthands as mappings, defaults written out, `null` for what is unset. Reading it
// back gives an equal document.
#pragma once

#include <string>

#include <google/protobuf/message.h>
#include <nlohmann/json_fwd.hpp>

#include "libs/config/document.h"

namespace dstack::config {

struct CanonicalOptions {
  // Passwords, tokens and values of variables become `***`. The result cannot be read back then.
  bool hide_secrets = false;
};

// The keys of a message, in the order of its fields.
nlohmann::ordered_json CanonicalJson(const google::protobuf::Message& message,
                                     const CanonicalOptions& options = {});

// The same for a whole document, with the keys that select its kind (`type`, and `backend` of a
// volume) in front.
nlohmann::ordered_json CanonicalJson(const AnyDocument& document,
                                     const CanonicalOptions& options = {});

// As YAML, in block style. Text that YAML 1.1 could take for something else is quoted.
std::string PrintYaml(const nlohmann::ordered_json& value);

}  // namespace dstack::config
