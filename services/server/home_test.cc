#include "services/server/home.h"

#include <catch2/catch.hpp>
#include <sys/stat.h>

#include "libs/testing/temp_dir.h"

namespace dstack::server {
namespace {

mode_t ModeOf(const std::string& path) {
  struct stat info {};
  REQUIRE(stat(path.c_str(), &info) == 0);
  return info.st_mode & 07777;
}

TEST_CASE("secrets are made once, kept private and found again") {
  testing::TempDir dir;
  const std::string path = dir.Path("a/b/server");
  std::string key;
  std::string token;
  {
    auto home = Home::Open(path);
    REQUIRE(home.ok());
    key = home->MasterKey(base::Secret())->Reveal();
    CHECK(key.size() == 32);
    const auto made = home->GetAdminToken(base::Secret());
    REQUIRE(made.ok());
    CHECK(made->is_new);
    token = made->token.Reveal();
    CHECK(token.size() == 64);
    CHECK(ModeOf(path) == 0700);
    CHECK(ModeOf(path + "/secret.key") == 0600);
    CHECK(ModeOf(path + "/admin_token") == 0600);
  }
  auto home = Home::Open(path);
  REQUIRE(home.ok());
  CHECK(home->MasterKey(base::Secret())->Reveal() == key);
  const auto found = home->GetAdminToken(base::Secret());
  CHECK_FALSE(found->is_new);
  CHECK(found->token.Reveal() == token);
}

TEST_CASE("what is given wins") {
  testing::TempDir dir;
  auto home = Home::Open(dir.path());
  REQUIRE(home.ok());
  const auto given = home->GetAdminToken(base::Secret("given-token"));
  REQUIRE(given.ok());
  CHECK_FALSE(given->is_new);
  CHECK(home->GetAdminToken(base::Secret())->token.Reveal() == "given-token");
  const auto key = home->MasterKey(base::Secret("QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="));
  REQUIRE(key.ok());
  CHECK(key->Reveal() == std::string(32, 'A'));
  CHECK_FALSE(base::Exists(dir.Path("secret.key")));
  CHECK_FALSE(home->MasterKey(base::Secret("too short")).ok());
}

TEST_CASE("a start learns which replica its predecessor was") {
  testing::TempDir dir;
  auto home = Home::Open(dir.path());
  REQUIRE(home.ok());
  CHECK(home->ReplaceReplicaId("first")->empty());
  CHECK(*home->ReplaceReplicaId("second") == "first");
}

TEST_CASE("one server per directory, and damage is told") {
  testing::TempDir dir;
  auto home = Home::Open(dir.path());
  REQUIRE(home.ok());
  const absl::Status second = Home::Open(dir.path()).status();
  CHECK_THAT(std::string(second.message()), Catch::Contains("another dstack-server"));
  REQUIRE(base::WriteFileAtomic(dir.Path("secret.key"), "abc", 0600).ok());
  CHECK_THAT(std::string(home->MasterKey(base::Secret()).status().message()),
             Catch::Contains("secret.key"));
  REQUIRE(base::WriteFileAtomic(dir.Path("admin_token"), "\n", 0600).ok());
  CHECK_FALSE(home->GetAdminToken(base::Secret()).ok());
}

}  // namespace
}  // namespace dstack::server
