#include "services/runner/job/user_lookup.h"

#include <catch2/catch.hpp>

#include "libs/base/status.h"

namespace dstack::runner {
namespace {

const UserFiles kFiles = {
    .passwd =
        "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1001:,,,:/home/alice:/bin/bash\n"
        "daemon:x:1:1::/nonexistent:/usr/sbin/nologin\nbroken line\nodd:x:3:3::relative:/x\n",
    .group = "root:x:0:\nalice:x:1001:\nvideo:x:44:alice,bob\naudio:x:29:bob\ndocker:x:20:alice\n"};
const OwnUser kRoot = {.uid = 0, .gid = 0, .groups = {0, 10}};

JobUser Resolve(const v1::UserSpec& wish, std::string_view image = "") {
  auto user = ResolveUser(wish, image, kRoot, kFiles);
  INFO(user.status());
  REQUIRE(user.ok());
  return *user;
}

TEST_CASE("without a wish the runner's own user, with its groups") {
  const JobUser user = Resolve({});
  CHECK(user.uid == 0);
  CHECK(user.name == "root");
  CHECK(user.home == "/root");
  CHECK(user.groups == std::vector<gid_t>{0, 10});
}

TEST_CASE("U2 a name brings its groups") {
  v1::UserSpec wish;
  wish.set_username("alice");
  const JobUser user = Resolve(wish);
  CHECK(user.uid == 1000);
  CHECK(user.gid == 1001);
  CHECK(user.groups == std::vector<gid_t>{20, 44, 1001});
  CHECK(user.home == "/home/alice");
}

TEST_CASE("U1 a number that nobody has is in group 0 without a home, a known one is its user") {
  v1::UserSpec wish;
  wish.set_uid(1000);
  CHECK(Resolve(wish).name == "alice");
  wish.set_uid(4242);
  const JobUser unknown = Resolve(wish);
  CHECK(unknown.gid == 0);
  CHECK(unknown.groups == std::vector<gid_t>{0});
  CHECK(unknown.name == "4242");
  CHECK(unknown.home == "/");
}

TEST_CASE("a group replaces all others") {
  v1::UserSpec wish;
  wish.set_username("alice");
  wish.set_groupname("audio");
  CHECK(Resolve(wish).groups == std::vector<gid_t>{29});
  wish.clear_username();
  wish.set_gid(7);
  wish.clear_groupname();
  CHECK(Resolve(wish).uid == 0);
  CHECK(Resolve(wish).gid == 7);
}

TEST_CASE("the image's USER counts when the job has no wish") {
  CHECK(Resolve({}, "alice").uid == 1000);
  CHECK(Resolve({}, "1000:29").gid == 29);
  CHECK(Resolve({}, "4242").uid == 4242);
  CHECK(Resolve({}, "alice:audio").groups == std::vector<gid_t>{29});
  v1::UserSpec wish;
  wish.set_uid(0);
  CHECK(Resolve(wish, "alice").uid == 0);
}

TEST_CASE("U3 unknown names are errors that name them") {
  v1::UserSpec wish;
  wish.set_username("mallory");
  const auto user = ResolveUser(wish, "", kRoot, kFiles);
  CHECK(user.status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(std::string(base::Message(user.status())).find("mallory") != std::string::npos);
  v1::UserSpec group;
  group.set_groupname("nogroup-here");
  CHECK_FALSE(ResolveUser(group, "", kRoot, kFiles).ok());
}

TEST_CASE("homes that cannot be one") {
  v1::UserSpec wish;
  wish.set_username("daemon");
  CHECK(Resolve(wish).home == "/");
  wish.set_username("odd");
  CHECK(Resolve(wish).home == "/");
}

TEST_CASE("an image without users") {
  const auto user = ResolveUser({}, "", kRoot, {});
  REQUIRE(user.ok());
  CHECK(user->name == "0");
  CHECK(user->home == "/");
}

}  // namespace
}  // namespace dstack::runner
