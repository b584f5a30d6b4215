#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace dstack::server {

// Splits as a POSIX shell splits words, without any expansion: blanks separate, '...' is
// literal, in "..." a backslash escapes the dollar sign, the two quotes, itself and newline,
// elsewhere it escapes any character. INVALID_ARGUMENT for an open quote or a trailing backslash.
absl::StatusOr<std::vector<std::string>> SplitShellWords(std::string_view text);

}  // namespace dstack::server
