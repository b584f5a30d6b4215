#include "services/shim/adapters/host_keys.h"

#include <catch2/catch.hpp>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/testing/temp_dir.h"

namespace dstack::shim {
namespace {

constexpr char kFirst[] =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPvMKTHGgFKBnfzmgLDqlJy7VwiocGfGMXYQeo4IJ7Xe";
constexpr char kSecond[] =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

// Accounts whose homes are temporary directories, and a shim that was started on them.
struct Fixture {
  Fixture() {
    REQUIRE(
        base::WriteFileAtomic(dir.Path("passwd"),
                              fmt::format("root:x:0:0::/root:/bin/sh\nann:x:{}:{}::{}:/bin/sh\n",
                                          ::geteuid(),
                                          ::getegid(),
                                          dir.path()))
            .ok());
    Restart({});
  }
  void Restart(std::map<std::string, KeyWish> wishes) {
    keys.emplace(HostKeysSettings{.owner = "shim",
                                  .state_file = dir.Path("accounts.json"),
                                  .passwd_file = dir.Path("passwd")});
    keys->Restore(std::move(wishes));
  }
  void WriteOwn(const std::string& text, mode_t mode = 0600) {
    REQUIRE(base::MakeDirs(dir.Path(".ssh"), 0700).ok());
    REQUIRE(base::WriteFileAtomic(path(), text, mode).ok());
  }
  std::string path() const { return dir.Path(".ssh/authorized_keys"); }
  std::string Text() const { return base::ReadFile(path()).value_or("absent"); }
  std::string Backup() const { return base::ReadFile(path() + ".bak").value_or("absent"); }

  testing::TempDir dir;
  std::optional<HostKeys> keys;
};

KeyWish Wish(std::vector<std::string> keys, std::set<std::uint16_t> ports) {
  return {.account = "ann", .keys = std::move(keys), .ports = std::move(ports)};
}

std::string Line(const char* key, std::set<std::uint16_t> ports) {
  return JumpLine({key, std::move(ports)}, "shim") + "\n";
}

TEST_CASE("K5 the path is below the account's home, an unknown account is an error") {
  const std::string passwd =
      "root:x:0:0::/root:/bin/sh\nann:x:1000:1001::/home/ann:/bin/sh\nbad:x\n";
  const auto account = FindAccount(passwd, "ann");
  REQUIRE(account.ok());
  CHECK(AuthorizedKeysPath(*account) == "/home/ann/.ssh/authorized_keys");
  CHECK(account->uid == 1000);
  CHECK(account->gid == 1001);
  for (const char* name : {"bob", "bad", "", "an"}) {
    INFO(name);
    CHECK(absl::IsNotFound(FindAccount(passwd, name).status()));
  }
  Fixture f;
  CHECK(f.keys->Check("ann").ok());
  CHECK(absl::IsNotFound(f.keys->Check("bob")));
}

TEST_CASE("K6 keys are appended and removed, one and several, and .bak holds the content before") {
  Fixture f;
  const std::string own = "# mine\nssh-rsa odd\n";
  f.WriteOwn(own, 0644);
  REQUIRE(f.keys->Set("t1", Wish({kFirst}, {1})).ok());
  CHECK(f.Text() == own + Line(kFirst, {1}));
  CHECK(f.Backup() == own);
  REQUIRE(f.keys->Set("t2", Wish({kFirst, kSecond}, {2})).ok());
  CHECK(f.Text() == own + Line(kFirst, {1, 2}) + Line(kSecond, {2}));
  CHECK(f.Backup() == own + Line(kFirst, {1}));
  // The first task's end takes nothing from the second.
  REQUIRE(f.keys->Remove("t1").ok());
  CHECK(f.Text() == own + Line(kFirst, {2}) + Line(kSecond, {2}));
  REQUIRE(f.keys->Remove("t2").ok());
  REQUIRE(f.keys->Remove("t2").ok());
  CHECK(f.Text() == own);
  struct stat info {};
  REQUIRE(::stat(f.path().c_str(), &info) == 0);
  CHECK((info.st_mode & 07777U) == 0644);
}

TEST_CASE("a file is made when there is none") {
  Fixture f;
  REQUIRE(f.keys->Remove("t0").ok());
  CHECK_FALSE(base::Exists(f.path()));
  REQUIRE(f.keys->Set("t1", Wish({kFirst}, {1})).ok());
  CHECK(f.Text() == Line(kFirst, {1}));
  struct stat info {};
  REQUIRE(::stat(f.path().c_str(), &info) == 0);
  CHECK((info.st_mode & 07777U) == 0600);
}

TEST_CASE("a key without a port yet opens nothing") {
  Fixture f;
  f.WriteOwn("");
  REQUIRE(f.keys->Set("t1", Wish({kFirst}, {})).ok());
  CHECK(f.Text().empty());
}

TEST_CASE("W7 what a crash leaves goes at the next start, live tasks keep theirs") {
  Fixture f;
  f.WriteOwn("# mine\n");
  REQUIRE(f.keys->Set("t1", Wish({kFirst}, {1})).ok());
  REQUIRE(f.keys->Set("t2", Wish({kSecond}, {2})).ok());
  f.Restart({{"t2", Wish({kSecond}, {2})}});
  CHECK(f.Text() == "# mine\n" + Line(kSecond, {2}));
  f.Restart({});
  CHECK(f.Text() == "# mine\n");
}

TEST_CASE("an account cannot lead the shim to another file") {
  Fixture f;
  REQUIRE(base::MakeDirs(f.dir.Path(".ssh"), 0700).ok());
  REQUIRE(base::WriteFileAtomic(f.dir.Path("victim"), "secret\n").ok());
  REQUIRE(::symlink(f.dir.Path("victim").c_str(), f.path().c_str()) == 0);
  CHECK_FALSE(f.keys->Set("t1", Wish({kFirst}, {1})).ok());
  CHECK(base::ReadFile(f.dir.Path("victim")).value_or("") == "secret\n");

  REQUIRE(base::RemoveAll(f.dir.Path(".ssh")).ok());
  REQUIRE(::symlink("/tmp", f.dir.Path(".ssh").c_str()) == 0);
  CHECK_FALSE(f.keys->Set("t1", Wish({kFirst}, {1})).ok());
}

}  // namespace
}  // namespace dstack::shim
