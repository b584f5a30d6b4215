#pragma once

#include <optional>
#include <string>
#include <string_view>

#include <absl/status/statusor.h>

namespace dstack::docker {

// What a registry wants to know before it gives an image away: name and password, or a refresh
// token.
struct RegistryCredentials {
  std::string username;
  std::string password;
  std::string identity_token;

  bool operator==(const RegistryCredentials&) const = default;
};

// Host and port of the registry that a reference names; "docker.io" when it names none.
std::string RegistryOf(std::string_view reference);

// The entry for the reference's registry in the text of a Docker configuration file ("auths"), in
// any of the forms in which people write it: "auth" (base64 of name:password), name and password,
// "identitytoken", with or without scheme and path in the key. Nothing when there is no such
// entry. INVALID_ARGUMENT when the text is no such file; the message shows nothing of it.
absl::StatusOr<std::optional<RegistryCredentials>> CredentialsFromDockerConfig(
    std::string_view config, std::string_view reference);

// Value of the header X-Registry-Auth.
std::string RegistryAuthHeader(const RegistryCredentials& credentials);

}  // namespace dstack::docker
