#include "libs/base/git_url.h"

#include <string>

#include <catch2/catch.hpp>

#include "libs/base/status.h"

namespace dstack::base {
namespace {

TEST_CASE("addresses of repositories") {
  struct Row {
    const char* text;
    const char* normal;
    const char* origin;
  };
  const Row row = GENERATE(
      Row{"https://github.com/a/b.git", "https://github.com/a/b.git", "https://github.com"},
      Row{"https://h:8443/r", "https://h:8443/r", "https://h:8443"},
      Row{"http://127.0.0.1:8080/r", "http://127.0.0.1:8080/r", "http://127.0.0.1:8080"},
      Row{"http://[::1]/r", "http://[::1]/r", "http://[::1]"},
      Row{"git@h:a/b.git", "git@h:a/b.git", ""},
      Row{"git@h:/srv/b", "ssh://git@h/srv/b", ""},
      Row{"ssh://h:22/a", "ssh://git@h:22/a", ""},
      Row{"ssh://me@h/a", "ssh://me@h/a", ""});
  INFO(row.text);
  const auto url = ParseGitUrl(row.text);
  REQUIRE(url.ok());
  CHECK(url->ToString() == row.normal);
  CHECK(url->Origin() == row.origin);
}

TEST_CASE("what is no address of a repository") {
  const std::string text = GENERATE("",
                                    "x",
                                    "./here",
                                    "/srv/r",
                                    "file:///srv/r",
                                    "ext::sh -c x",
                                    "http://example.com/r",
                                    "ftp://h/r",
                                    "https://",
                                    "https://h",
                                    "https://h/",
                                    "https://-oProxyCommand=x/r",
                                    "ssh://-oProxyCommand=x/r",
                                    "-o@h:r",
                                    "a/b@h:r",
                                    "git@-h:r",
                                    "git@h:-r",
                                    "https://h:0/r",
                                    "https://h:x/r",
                                    "https://h/r\nx",
                                    "https://user:hunter2@h/r",
                                    "ssh://u:hunter2@h/r");
  INFO(text);
  const auto url = ParseGitUrl(text);
  REQUIRE_FALSE(url.ok());
  CHECK(std::string(Message(url.status())).find("hunter2") == std::string::npos);
}

TEST_CASE("the id of a repository does not depend on the form of its address") {
  for (const char* text : {"https://github.com/dstackai/dstack",
                           "https://github.com/dstackai/dstack.git",
                           "git@github.com:dstackai/dstack.git",
                           "ssh://git@github.com/dstackai/dstack/"}) {
    CHECK(GitRepoId(*ParseGitUrl(text)) == "dstack-nizdmsg0");
  }
}

}  // namespace
}  // namespace dstack::base
