#include "libs/rpc/channel.h"

#include <string>

#include <catch2/catch.hpp>

namespace dstack::rpc {
namespace {

struct GoodUrl {
  const char* url;
  const char* target;
  bool is_tls;
  bool is_local;
};

TEST_CASE("URLs become gRPC targets") {
  const GoodUrl good[] = {
      {"http://127.0.0.1:3000", "ipv4:127.0.0.1:3000", false, true},
      {"http://127.0.0.1:3000/", "ipv4:127.0.0.1:3000", false, true},
      {"http://10.1.2.3", "ipv4:10.1.2.3:80", false, false},
      {"http://localhost:3000", "dns:///localhost:3000", false, true},
      {"https://dstack.example.com", "dns:///dstack.example.com:443", true, false},
      {"https://[::1]:8443", "ipv6:[::1]:8443", true, true},
      {"https://[2001:db8::1]", "ipv6:[2001:db8::1]:443", true, false},
      {"unix:/run/dstack.sock", "unix:/run/dstack.sock", false, true},
      {"unix:///run/dstack.sock", "unix:/run/dstack.sock", false, true},
      {"http+unix://%2Frun%2Fdstack.sock", "unix:/run/dstack.sock", false, true},
  };
  for (const GoodUrl& row : good) {
    INFO(row.url);
    const auto endpoint = ParseUrl(row.url);
    REQUIRE(endpoint.ok());
    CHECK(endpoint->target == row.target);
    CHECK(endpoint->is_tls == row.is_tls);
    CHECK(endpoint->is_local == row.is_local);
  }
}

TEST_CASE("wrong URLs name the rule") {
  const std::pair<const char*, const char*> bad[] = {
      {"", "must not be empty"},
      {"localhost:3000", "must begin with"},
      {"ftp://x", "must begin with"},
      {"http://", "host is missing"},
      {"http://:3000", "host is missing"},
      {"http://x:0", "1 to 65535"},
      {"http://x:65536", "1 to 65535"},
      {"http://x:", "cannot be read"},
      {"http://x:30a", "1 to 65535"},
      {"http://[::1", "cannot be read"},
      {"http://x/api", "must end after"},
      {"http://x?y", "must end after"},
      {"http://me@x", "must not contain a user"},
      {"http://a b", "blank"},
      {"http+unix://%2", "two hex digits"},
      {"unix:", "socket is missing"},
  };
  for (const auto& [url, rule] : bad) {
    INFO(url);
    const auto endpoint = ParseUrl(url);
    REQUIRE_FALSE(endpoint.ok());
    CHECK(endpoint.status().code() == absl::StatusCode::kInvalidArgument);
    CHECK_THAT(std::string(endpoint.status().message()), Catch::Contains(rule));
  }
  REQUIRE_FALSE(ParseUrl("unix:/" + std::string(200, 'x')).ok());
}

TEST_CASE("dialling does not connect") {
  REQUIRE(Dial("http://127.0.0.1:1").ok());
  REQUIRE(Dial("https://127.0.0.1:1").ok());
  REQUIRE_FALSE(Dial("nonsense").ok());
}

}  // namespace
}  // namespace dstack::rpc
