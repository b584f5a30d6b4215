#include "libs/docker/registry_auth.h"

#include <utility>

#include <absl/strings/escaping.h>
#include <nlohmann/json.hpp>

#include "libs/base/macros.h"
#include "libs/base/status.h"

namespace dstack::docker {
namespace {

using nlohmann::json;

constexpr std::string_view kDockerHub = "docker.io";

std::string StringField(const json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}

// "https://index.docker.io/v1/" and "docker.io" are the same registry.
std::string CanonicalKey(std::string_view key) {
  if (const std::size_t scheme = key.find("://"); scheme != key.npos) key.remove_prefix(scheme + 3);
  key = key.substr(0, key.find('/'));
  if (key == "index.docker.io" || key == "registry-1.docker.io") key = kDockerHub;
  return std::string(key);
}

absl::StatusOr<RegistryCredentials> ParseEntry(const json& entry) {
  RegistryCredentials credentials{.username = StringField(entry, "username"),
                                  .password = StringField(entry, "password"),
                                  .identity_token = StringField(entry, "identitytoken")};
  const std::string auth = StringField(entry, "auth");
  if (auth.empty()) return credentials;
  std::string plain;
  const bool is_base64 = absl::Base64Unescape(auth, &plain);
  const std::size_t colon = plain.find(':');
  if (!is_base64 || colon == plain.npos) {
    return base::Invalid("an \"auth\" of the Docker configuration is not base64 of name:password");
  }
  credentials.username = plain.substr(0, colon);
  credentials.password = plain.substr(colon + 1);
  return credentials;
}

}  // namespace

std::string RegistryOf(std::string_view reference) {
  const std::size_t slash = reference.find('/');
  if (slash == reference.npos) return std::string(kDockerHub);
  const std::string_view first = reference.substr(0, slash);
  // As the engine decides it: a first component without dot, colon or "localhost" is a user.
  const bool is_host = first.find_first_of(".:") != first.npos || first == "localhost";
  return is_host ? CanonicalKey(first) : std::string(kDockerHub);
}

absl::StatusOr<std::optional<RegistryCredentials>> CredentialsFromDockerConfig(
    std::string_view config, std::string_view reference) {
  const json object = json::parse(config, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) return base::Invalid("the Docker configuration is not a JSON object");
  const auto auths = object.find("auths");
  if (auths == object.end() || !auths->is_object()) {
    return base::Invalid("the Docker configuration has no object \"auths\"");
  }
  const std::string registry = RegistryOf(reference);
  for (const auto& [key, entry] : auths->items()) {
    if (CanonicalKey(key) != registry || !entry.is_object()) continue;
    ASSIGN_OR_RETURN(RegistryCredentials credentials, ParseEntry(entry));
    return credentials;
  }
  return std::nullopt;
}

std::string RegistryAuthHeader(const RegistryCredentials& credentials) {
  json object;
  if (credentials.identity_token.empty()) {
    object = {{"username", credentials.username}, {"password", credentials.password}};
  } else {
    object = {{"identitytoken", credentials.identity_token}};
  }
  // Padded and URL-safe: the engine decodes with base64.URLEncoding.
  std::string encoded;
  absl::Base64Escape(object.dump(-1, ' ', false, json::error_handler_t::replace), &encoded);
  for (char& c : encoded) {
    if (c == '+') c = '-';
    if (c == '/') c = '_';
  }
  return encoded;
}

}  // namespace dstack::docker
