#include "services/server/store/secret_box.h"

#include <catch2/catch.hpp>

#include "libs/base/status.h"

namespace dstack::server {
namespace {

SecretBox BoxOf(char fill) { return *SecretBox::Create(base::Secret(std::string(32, fill))); }

TEST_CASE("what was sealed opens at its place") {
  const SecretBox box = BoxOf('k');
  for (const std::string& plain :
       {std::string(), std::string("a\0b", 3), std::string(100000, 'x')}) {
    const std::string sealed = box.Seal(plain, "t:1");
    CHECK(sealed.size() == plain.size() + 33);
    CHECK(*box.Open(sealed, "t:1") == plain);
  }
  CHECK(box.Seal("same", "t:1") != box.Seal("same", "t:1"));
}

TEST_CASE("nothing else opens") {
  const SecretBox box = BoxOf('k');
  const std::string sealed = box.Seal("secret", "t:1");
  CHECK_FALSE(box.Open(sealed, "t:2").ok());
  const auto other = BoxOf('o').Open(sealed, "t:1");
  CHECK(base::Message(other.status()).find("another encryption key") != std::string_view::npos);
  for (std::size_t i = 0; i < sealed.size(); ++i) {
    std::string damaged = sealed;
    damaged[i] = static_cast<char>(damaged[i] ^ 1);
    CHECK_FALSE(box.Open(damaged, "t:1").ok());
    CHECK_FALSE(box.Open(sealed.substr(0, i), "t:1").ok());
  }
}

TEST_CASE("a key has 32 bytes") {
  CHECK(SecretBox::Create(base::Secret("short")).status().code() ==
        absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace dstack::server
