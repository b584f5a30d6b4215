#include "services/shim/domain/authorized_keys.h"

#include <catch2/catch.hpp>

namespace dstack::shim {
namespace {

constexpr char kEd25519[] =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPvMKTHGgFKBnfzmgLDqlJy7VwiocGfGMXYQeo4IJ7Xe";
constexpr char kRsa[] =
    "ssh-rsa "
    "AAAAB3NzaC1yc2EAAAADAQABAAAAgQCZOatEKf813ywfJZ2k4VwyfE17hMlbrkBTT+8FRw6yYgt2j++"
    "cWQalyDZGaTsvGHQN/vcwzDzIjqKh1wy8cGw+hvaHnZf7yQjPTPRMJ4b0RVZcm+P2OyVtK9tSNA/"
    "KG8ZLrBU2y14znggnusizvOogViE/ESelMaKd3zdfFucDdw==";

std::string Line(const char* key, const std::string& comment) {
  return std::string(key) + " " + comment;
}

TEST_CASE("K1 the fingerprint of a public key has the known value") {
  CHECK(Fingerprint(Line(kEd25519, "user@host")) ==
        "SHA256:XFPLywaBzzpkcTYzMq7pU5oTquA1J/COuv8E+OnpFZ4");
  CHECK(Fingerprint("not a key").empty());
}

TEST_CASE("K2 equal keys compare equal, different or broken keys do not, in either order") {
  CHECK(IsSameKey(Line(kEd25519, "a"), Line(kEd25519, "b")));
  for (const char* other : {kRsa, "ssh-ed25519 AAAA", "ssh-ed25519", "", "junk"}) {
    INFO(other);
    CHECK_FALSE(IsSameKey(kEd25519, other));
    CHECK_FALSE(IsSameKey(other, kEd25519));
  }
  CHECK_FALSE(IsSameKey("junk", "junk"));
}

TEST_CASE("K3 removal of one, of all and of an absent key leaves comment lines alone") {
  const std::string own = "# mine\n\nssh-rsa broken\n";
  const std::vector<JumpKey> both = {{kEd25519, {1}}, {kRsa, {2}}};
  const std::string full = WithJumpKeys(own, both, "s");
  CHECK(full == own + JumpLine(both[0], "s") + "\n" + JumpLine(both[1], "s") + "\n");
  CHECK(WithJumpKeys(full, {both[1]}, "s") == own + JumpLine(both[1], "s") + "\n");
  CHECK(WithJumpKeys(full, {}, "s") == own);
  CHECK(WithJumpKeys(own, {}, "s") == own);
  CHECK(WithJumpKeys(full, {}, "another shim") == full);
}

TEST_CASE("K4 appending keeps the order of lines and allows comment lines") {
  const std::string own = Line(kRsa, "me") + "\n# a comment\nfrom=\"10.0.0.1\" " +
                          Line(kEd25519, "me, elsewhere") + "\n";
  // Keys that the account has itself are left to it.
  CHECK(WithJumpKeys(own, {{kRsa, {5}}, {kEd25519, {5}}}, "s") == own);
  const std::string comment = "# " + Line(kRsa, "commented out") + "\n";
  CHECK(WithJumpKeys(comment, {{kRsa, {5}}}, "s") == comment + JumpLine({kRsa, {5}}, "s") + "\n");
}

TEST_CASE("a jump key may reach its ports and nothing else") {
  CHECK(JumpLine({Line(kEd25519, "c\" x"), {22000, 80}}, "id") ==
        "restrict,command=\"false\",port-forwarding,permitopen=\"127.0.0.1:80\","
        "permitopen=\"127.0.0.1:22000\" " +
            std::string(kEd25519) + " dstack-shim:id");
  // Without a port there is nothing to forward to, and no permitopen would mean everywhere.
  CHECK(JumpLine({kEd25519, {}}, "id") ==
        "restrict,command=\"false\" " + std::string(kEd25519) + " dstack-shim:id");
}

TEST_CASE("tasks that share a key share its line") {
  const std::string text =
      WithJumpKeys("", {{Line(kEd25519, "a"), {1}}, {Line(kEd25519, "b"), {2}}}, "s");
  CHECK(text == JumpLine({kEd25519, {1, 2}}, "s") + "\n");
}

TEST_CASE("a last line without newline is kept as it is until something follows") {
  CHECK(WithJumpKeys("# x", {}, "s") == "# x");
  const std::string full = WithJumpKeys("# x", {{kRsa, {1}}}, "s");
  CHECK(full == "# x\n" + JumpLine({kRsa, {1}}, "s") + "\n");
  CHECK(WithJumpKeys(full, {}, "s") == "# x\n");
  CHECK(WithJumpKeys("", {}, "s").empty());
}

TEST_CASE("what is not one plain key is refused") {
  for (const std::string& line : {std::string("command=\"id\" ") + kEd25519,
                                  std::string(kEd25519) + "\nssh-rsa x",
                                  "ssh-rsa " + std::string(kEd25519).substr(12),
                                  std::string("ssh-ed25519 !!!!"),
                                  std::string()}) {
    INFO(line);
    CHECK_FALSE(ParsePublicKey(line).has_value());
  }
  CHECK(ParsePublicKey(Line(kRsa, "a comment with blanks"))->comment == "a comment with blanks");
}

}  // namespace
}  // namespace dstack::shim
