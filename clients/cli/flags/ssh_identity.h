#pragma once

#include <string>

#include <absl/status/statusor.h>

#include "clients/cli/session/environment.h"

namespace dstack::cli {

// The public key that belongs to the private key file of --ssh-identity: the one line of the file
// of that name with `.pub`. The private key itself is not read. Errors name the flag and the file.
absl::StatusOr<std::string> ReadPublicKey(const Environment& environment,
                                          const std::string& private_key_file);

}  // namespace dstack::cli
