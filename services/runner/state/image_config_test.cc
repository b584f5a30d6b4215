#include "services/runner/state/image_config.h"

#include <catch2/catch.hpp>

namespace dstack::runner {
namespace {

TEST_CASE("an image config") {
  const auto config = ParseImageConfig(
      R"({"entrypoint":["/e"],"cmd":["a","b"],"user":"u:g","working_dir":"/w","env":["A=1"]})");
  REQUIRE(config.ok());
  CHECK(config->Command() == std::vector<std::string>{"/e", "a", "b"});
  CHECK(config->user == "u:g");
}

TEST_CASE("missing and null members are empty") {
  CHECK(ParseImageConfig("{}")->Command().empty());
  CHECK(ParseImageConfig(R"({"entrypoint":null,"cmd":null,"user":null})")->Command().empty());
}

TEST_CASE("what is no image config") {
  for (const char* text : {"", "[]", "{", R"({"cmd":"x"})", R"({"entrypoint":[1]})"}) {
    INFO(text);
    CHECK_FALSE(ParseImageConfig(text).ok());
  }
}

TEST_CASE("a missing file is an image without anything") {
  CHECK(LoadImageConfig("/nonexistent/image_config.json")->Command().empty());
}

}  // namespace
}  // namespace dstack::runner
