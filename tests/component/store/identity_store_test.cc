#include <catch2/catch.hpp>

#include "libs/base/sha256.h"
#include "libs/base/status.h"
#include "tests/component/store/store_fixture.h"

namespace dstack::server {
namespace {

using namespace api::v1;  // NOLINT: roles read best without their package here

TEST_CASE("a token finds its user until it is revoked or has expired") {
  StoreFixture f;
  const auto found = f.stores.identities.FindByToken(base::Secret("token"));
  REQUIRE(found.ok());
  CHECK(found->name == "ann");
  CHECK(found->global_role == GLOBAL_ROLE_ADMIN);
  CHECK(base::Reason(f.stores.identities.FindByToken(base::Secret("other")).status()) ==
        "USER_NOT_FOUND");

  REQUIRE(f.stores.identities.EnsureToken(f.user.id, base::Secret("second")).ok());
  REQUIRE(f.stores.identities.EnsureToken(f.user.id, base::Secret("second")).ok());
  CHECK(f.stores.identities.FindByToken(base::Secret("second"))->id == f.user.id);

  pqxx::connection connection(f.conninfo);
  pqxx::work tx(connection);
  tx.exec_params("UPDATE user_tokens SET revoked_at = now() WHERE token_hash = $1",
                 pqxx::binarystring(base::Sha256Bytes("token")));
  tx.exec_params(
      "UPDATE user_tokens SET expires_at = now() - interval '1 second' WHERE token_hash = $1",
      pqxx::binarystring(base::Sha256Bytes("second")));
  tx.commit();
  CHECK_FALSE(f.stores.identities.FindByToken(base::Secret("token")).ok());
  CHECK_FALSE(f.stores.identities.FindByToken(base::Secret("second")).ok());
  CHECK_FALSE(f.stores.identities.EnsureToken(f.user.id, base::Secret("token")).ok());
}

TEST_CASE("names of users and projects are taken once") {
  StoreFixture f;
  const auto user =
      f.stores.identities.CreateUser("ann", GLOBAL_ROLE_USER, base::Secret("t2"), TestKey("x"));
  CHECK(user.status().code() == absl::StatusCode::kAlreadyExists);
  CHECK(base::Reason(user.status()) == "NAME_TAKEN");
  CHECK_FALSE(f.stores.identities.FindByToken(base::Secret("t2")).ok());
  const auto project = f.stores.identities.CreateProject("main", f.user, TestKey("x"));
  CHECK(base::Reason(project.status()) == "NAME_TAKEN");
}

TEST_CASE("members see their projects, administrators all") {
  StoreFixture f;
  const auto bob =
      f.stores.identities.CreateUser("bob", GLOBAL_ROLE_USER, base::Secret("bob"), TestKey("bob"));
  REQUIRE(bob.ok());
  const auto other = f.stores.identities.CreateProject("bobs", *bob, TestKey("p"));
  REQUIRE(other.ok());
  CHECK(*f.stores.identities.RoleOf(bob->id, other->id) == PROJECT_ROLE_ADMIN);
  CHECK(*f.stores.identities.RoleOf(bob->id, f.project.id) == PROJECT_ROLE_UNSPECIFIED);
  CHECK(f.stores.identities.ListProjects(*bob, 10, "")->size() == 1);
  const auto all = f.stores.identities.ListProjects(f.user, 10, "");
  REQUIRE(all->size() == 2);
  CHECK(all->at(0).name == "bobs");
  CHECK(all->at(0).owner_name == "bob");
  CHECK(all->at(0).members.size() == 1);
  CHECK(f.stores.identities.ListProjects(f.user, 10, "bobs")->size() == 1);
  CHECK(f.stores.identities.LoadProject("main")->owner_name == "ann");
  CHECK(base::Reason(f.stores.identities.LoadProject("x").status()) == "PROJECT_NOT_FOUND");
  const auto users = f.stores.identities.ListUsers(1, "ann");
  REQUIRE(users->size() == 1);
  CHECK(users->at(0).name == "bob");
  CHECK(f.stores.identities.FindUser("bob")->id == bob->id);
}

TEST_CASE("a private key comes back, and does not lie open in the table") {
  StoreFixture f;
  const auto key = f.stores.identities.LoadUserKey(f.user.id);
  REQUIRE(key.ok());
  CHECK(key->private_key.Reveal() == "private ann");
  CHECK(key->public_key == "ssh-ed25519 AAAAann");
  pqxx::connection connection(f.conninfo);
  pqxx::work tx(connection);
  CHECK(tx.exec("SELECT count(*) FROM users"
                " WHERE position('private'::bytea IN ssh_private_key) > 0")[0][0]
            .as<int>() == 0);
}

TEST_CASE("the identity of the installation is made once") {
  StoreFixture f;
  const auto id = f.stores.identities.ServerId();
  REQUIRE(id.ok());
  CHECK(base::IsUuid(*id));
  CHECK(*f.stores.identities.ServerId() == *id);
}

TEST_CASE("files are per user and stored once") {
  StoreFixture f;
  const auto bob =
      f.stores.identities.CreateUser("bob", GLOBAL_ROLE_USER, base::Secret("bob"), TestKey("bob"));
  REQUIRE(bob.ok());
  const std::string content(
      "archive\0with\xff"
      "bytes",
      18);
  const std::string digest = base::Sha256Hex(content);
  CHECK(base::Reason(f.stores.files.Put(f.user.id, std::string(64, '0'), content)) ==
        "DIGEST_MISMATCH");
  REQUIRE(f.stores.files.Put(f.user.id, digest, content).ok());
  REQUIRE(f.stores.files.Put(f.user.id, digest, content).ok());
  CHECK(*f.stores.files.Get(f.user.id, digest) == content);
  CHECK(*f.stores.files.FindMissing(f.user.id, {digest, "x"}) == std::vector<std::string>{"x"});
  // What another user has uploaded is not there for this one.
  CHECK(base::Reason(f.stores.files.Get(bob->id, digest).status()) == "FILE_NOT_FOUND");
  CHECK(f.stores.files.FindMissing(bob->id, {digest})->size() == 1);
  REQUIRE(f.stores.files.Put(bob->id, digest, content).ok());
  CHECK(*f.stores.files.Get(bob->id, digest) == content);
}

}  // namespace
}  // namespace dstack::server
