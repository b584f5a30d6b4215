#pragma once

#include <string>
#include <string_view>

#include <absl/status/statusor.h>

namespace dstack::runner {

// "type base64" of the public half that an unencrypted private key in OpenSSH's form carries.
// INVALID_ARGUMENT for anything else. Pure.
absl::StatusOr<std::string> PublicHalf(std::string_view private_key);

}  // namespace dstack::runner
