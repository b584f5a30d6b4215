// Rules of the backends in the server's `config.yml`. Internal to the validators of this library.
#pragma once

#include <string>

#include "dstack/config/v1/server.pb.h"

#include "libs/config/violations.h"

namespace dstack::config {

// `path` is that of the backend. Credentials are checked by the keys that their backend needs; no
// value of a credential is part of what is said.
void CheckBackendRules(const v1::BackendConfig& backend,
                       const std::string& path,
                       Violations* violations);

}  // namespace dstack::config
