// Rules for names and other short texts that users choose. Each check returns OK or an error whose
// message is the rule, in words that follow the field ("must begin with ...").
#pragma once

#include <string_view>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "dstack/config/v1/profile.pb.h"

namespace dstack::config {

// Runs, fleets, volumes, gateways: a lower-case letter, then 1..40 of `a-z 0-9 -`.
absl::Status CheckResourceName(std::string_view name);
// Node and replica groups: `a-z 0-9`, then up to 39 of `a-z 0-9 -`.
absl::Status CheckGroupName(std::string_view name);
// 1..50 of letters, digits, `-`, `_`.
absl::Status CheckProjectName(std::string_view name);
// 1..60 of letters, digits, `-`, `_`.
absl::Status CheckUserName(std::string_view name);
// 1..200 of letters, digits, `-`, `_`.
absl::Status CheckSecretName(std::string_view name);
// A shell identifier: letter or `_`, then letters, digits, `_`.
absl::Status CheckEnvName(std::string_view name);
// 1..60 of letters, digits, `-`, `_`.
absl::Status CheckTagKey(std::string_view key);
// Up to 256 of letters, digits, space and `. : / = _ - + @`.
absl::Status CheckTagValue(std::string_view value);
// `USER[:GROUP]`, each part not empty.
absl::Status CheckContainerUser(std::string_view user);
// `sh`, `bash` or an absolute path.
absl::Status CheckShell(std::string_view shell);
// Text for one line: valid UTF-8, no control characters, at most `max_bytes`.
absl::Status CheckPlainText(std::string_view text, size_t max_bytes);

// `name` or `project/name`, both parts not empty.
absl::StatusOr<v1::EntityReference> ParseEntityReference(std::string_view text);
std::string FormatEntityReference(const v1::EntityReference& reference);

}  // namespace dstack::config
