#include "libs/docker/registry_auth.h"

#include <absl/strings/escaping.h>
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "libs/base/status.h"

namespace dstack::docker {
namespace {

nlohmann::json Decoded(const RegistryCredentials& credentials) {
  std::string plain;
  REQUIRE(absl::WebSafeBase64Unescape(RegistryAuthHeader(credentials), &plain));
  return nlohmann::json::parse(plain);
}

TEST_CASE("the registry of a reference") {
  const struct {
    const char* reference;
    const char* registry;
  } rows[] = {{"busybox", "docker.io"},
              {"user/app:1", "docker.io"},
              {"docker.io/user/app", "docker.io"},
              {"index.docker.io/user/app", "docker.io"},
              {"localhost/app", "localhost"},
              {"host:5000/app", "host:5000"},
              {"ghcr.io/a/b@sha256:00", "ghcr.io"}};
  for (const auto& row : rows) {
    INFO(row.reference);
    CHECK(RegistryOf(row.reference) == row.registry);
  }
}

TEST_CASE("entries of a Docker configuration") {
  const std::string config = R"({"auths": {
      "https://index.docker.io/v1/": {"auth": "dXNlcjpwYTpzcw=="},
      "ghcr.io": {"username": "u", "password": "p"},
      "reg.example:5000": {"auth": "AAAA", "identitytoken": "tok"},
      "id.example": {"identitytoken": "tok"},
      "odd.example": 7}})";
  CHECK(*CredentialsFromDockerConfig(config, "busybox") ==
        RegistryCredentials{.username = "user", .password = "pa:ss"});
  CHECK(*CredentialsFromDockerConfig(config, "ghcr.io/a/b") ==
        RegistryCredentials{.username = "u", .password = "p"});
  CHECK(*CredentialsFromDockerConfig(config, "id.example/x") ==
        RegistryCredentials{.identity_token = "tok"});
  CHECK_FALSE(CredentialsFromDockerConfig(config, "other.example/x")->has_value());
  CHECK_FALSE(CredentialsFromDockerConfig(config, "odd.example/x")->has_value());
  CHECK_FALSE(CredentialsFromDockerConfig(config, "reg.example:5000/x").ok());
  CHECK_FALSE(CredentialsFromDockerConfig("[]", "x").ok());
  CHECK_FALSE(CredentialsFromDockerConfig("{}", "x").ok());
  const absl::Status status = CredentialsFromDockerConfig("{\"sEcReT", "x").status();
  CHECK(base::Message(status).find("sEcReT") == std::string_view::npos);
}

TEST_CASE("the header carries a password of any length, or a token") {
  // An ECR password is a token of about 2,500 characters.
  const std::string token(2500, '+');
  CHECK(Decoded({.username = "AWS", .password = token}) ==
        nlohmann::json({{"username", "AWS"}, {"password", token}}));
  CHECK(Decoded({.identity_token = "t"}) == nlohmann::json({{"identitytoken", "t"}}));
}

}  // namespace
}  // namespace dstack::docker
