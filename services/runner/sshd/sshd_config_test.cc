#include <catch2/catch.hpp>

#include "services/runner/sshd/account.h"
#include "services/runner/sshd/config.h"

namespace dstack::runner {
namespace {

bool HasLine(const std::string& text, const std::string& line) {
  return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
}

TEST_CASE("a configuration for a host's loopback") {
  const std::string text = RenderSshdConfig(
      {.listen_address = "127.0.0.1", .port = 4022, .host_key = "/k", .authorized_keys = "/a"});
  CHECK(HasLine(text, "Port 4022"));
  CHECK(HasLine(text, "ListenAddress 127.0.0.1"));
  CHECK(HasLine(text, "PasswordAuthentication no"));
  CHECK(text.find("SetEnv") == std::string::npos);
}

TEST_CASE("the environment is quoted, in one line, and nothing of it can start another") {
  const std::string text = RenderSshdConfig({.port = 1,
                                             .host_key = "/k",
                                             .authorized_keys = "/a",
                                             .environment = {{"A", "a \"b\" \\c #"},
                                                             {"B", ""},
                                                             {"HOME", "/h"},
                                                             {"N", "x\nPermitTunnel yes"},
                                                             {"bad name", "x"}}});
  CHECK(HasLine(text, R"(SetEnv "A=a \"b\" \\c #" "B=")"));
  CHECK(text.find("PermitTunnel") == std::string::npos);
  CHECK(text.find("ListenAddress") == std::string::npos);
}

TEST_CASE("the user of sshd is added once") {
  const std::string added = WithSshdUser("root:x:0:0::/root:/bin/sh");
  CHECK(added.starts_with("root:x:0:0::/root:/bin/sh\nsshd:x:"));
  CHECK(WithSshdUser(added).empty());
}

TEST_CASE("a locked account is unlocked without a password") {
  CHECK(WithUnlockedUser("root:*:1::\nu:!:1::\n", "u") == "root:*:1::\nu:*:1::\n");
  CHECK(WithUnlockedUser("u:!$6$hash:1::\n", "u") == "u:*:1::\n");
  CHECK(WithUnlockedUser("root:*:1::\nu:$6$x:1::\n", "u").empty());
  CHECK(WithUnlockedUser("", "u").empty());
}

}  // namespace
}  // namespace dstack::runner
