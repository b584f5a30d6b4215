#include "services/shim/update/release.h"

#include <catch2/catch.hpp>

#include "libs/base/file.h"
#include "libs/testing/temp_dir.h"

namespace dstack::shim {
namespace {

const AgentSet kOld{.shim = "aaaaaaaaaaaa", .runner = "bbbbbbbbbbbb", .ssh = "cccccccccccc"};
const AgentSet kNew{.shim = "111111111111", .runner = "222222222222"};

Release OnTrial() {
  return {
      .current = kNew, .previous = kOld, .state = v1::UPGRADE_STATE_ACTIVATING, .attempted = kNew};
}

TEST_CASE("a release survives the way through its file") {
  const testing::TempDir dir;
  const ShimHome home(dir.path());
  CHECK(LoadRelease(home)->has_value() == false);
  Release release = OnTrial();
  release.message = "two\nlines \xff";
  REQUIRE(SaveRelease(home, release).ok());
  const auto loaded = LoadRelease(home);
  REQUIRE(loaded.ok());
  REQUIRE(loaded->has_value());
  CHECK((*loaded)->current == kNew);
  CHECK((*loaded)->previous == kOld);
  CHECK((*loaded)->is_on_trial());
}

TEST_CASE("a damaged release file is an error, not a path elsewhere") {
  const testing::TempDir dir;
  const ShimHome home(dir.path());
  for (const char* text : {"",
                           "{",
                           "[]",
                           R"({"current":{}})",
                           R"({"current":{"shim":"../../etc/x","runner":"","ssh":""},
                               "previous":{"shim":"","runner":"","ssh":""},
                               "attempted":{"shim":"","runner":"","ssh":""},
                               "state":"UPGRADE_STATE_ACTIVE","message":""})"}) {
    INFO(text);
    REQUIRE(base::WriteFileAtomic(home.Release(), text).ok());
    CHECK(LoadRelease(home).status().code() == absl::StatusCode::kDataLoss);
  }
}

TEST_CASE("a failed trial goes back, and says from what and why") {
  const Release back = RolledBack(OnTrial(), "exited with status 3");
  CHECK(back.current == kOld);
  CHECK_FALSE(back.is_on_trial());
  const v1::UpgradeStatus status = ToProto(back);
  CHECK(status.state() == v1::UPGRADE_STATE_ROLLED_BACK);
  CHECK(status.message() == "exited with status 3");
  REQUIRE(status.components_size() == 2);
  CHECK(status.components(0).sha256() == kNew.shim);
}

TEST_CASE("the command line is changed where components are named, and nowhere else") {
  const ShimHome home("/h");
  const std::vector<std::string> given = {
      "/h/bin/dstack-shim-aaaaaaaaaaaa", "--home", "/h", "--runner-binary", "/old", "--x"};
  CHECK(CommandFor(given, home, {}) == given);
  CHECK(CommandFor(given, home, kOld) ==
        std::vector<std::string>{"/h/bin/dstack-shim-aaaaaaaaaaaa",
                                 "--home",
                                 "/h",
                                 "--runner-binary",
                                 "/h/bin/dstack-runner-bbbbbbbbbbbb",
                                 "--x",
                                 "--ssh-bundle-dir",
                                 "/h/ssh-cccccccccccc"});
}

TEST_CASE("digits come only from names that a server gives") {
  CHECK(DigitsOfPath("/h/bin/dstack-shim-0123456789ab") == "0123456789ab");
  CHECK(DigitsOfPath("/usr/bin/dstack-shim").empty());
  CHECK(DigitsOfPath("/h/bin/dstack-shim-0123456789AB").empty());
  CHECK(DigitsOfPath("").empty());
}

}  // namespace
}  // namespace dstack::shim
