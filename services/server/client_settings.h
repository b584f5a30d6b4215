#pragma once

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "libs/base/secret.h"
#include "services/server/options.h"

namespace dstack::server {

// What happened to the client's settings.
enum class ClientSettingsResult { kUnchanged, kWritten, kKept };

// Makes the entry `main` of `<client home>/config.yml` point at this server, so that `dstack` works
// at once. A missing entry is written; one that differs is replaced when the person says so (`ask`
// is called with the path; kYes and kNo answer for it). The file keeps its other entries, mode
// 0600. A file that cannot be read is an error and stays as it is.
absl::StatusOr<ClientSettingsResult> UpdateClientSettings(
    const std::string& client_home,
    const std::string& url,
    const base::Secret& token,
    ClientUpdate update,
    const std::function<bool(const std::string& path)>& ask);

}  // namespace dstack::server
