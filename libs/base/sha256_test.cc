#include "libs/base/sha256.h"

#include <catch2/catch.hpp>

#include "libs/base/file.h"
#include "libs/testing/temp_dir.h"

namespace dstack::base {
namespace {

// FIPS 180-2, appendix B.
constexpr std::string_view kAbc =
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
constexpr std::string_view kEmpty =
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

TEST_CASE("known digests") {
  CHECK(Sha256Hex("abc") == kAbc);
  CHECK(Sha256Hex("") == kEmpty);
}

TEST_CASE("pieces give the digest of the whole, and the object can be used again") {
  Sha256 hash;
  hash.Update("a");
  hash.Update("bc");
  CHECK(hash.FinishHex() == kAbc);
  CHECK(hash.FinishHex() == kEmpty);
}

TEST_CASE("digest of a file") {
  testing::TempDir dir;
  REQUIRE(WriteFileAtomic(dir.Path("f"), "abc").ok());
  CHECK(*Sha256HexOfFile(dir.Path("f")) == kAbc);
  CHECK(Sha256HexOfFile(dir.Path("none")).status().code() == absl::StatusCode::kNotFound);
}

TEST_CASE("hexadecimal there and back") {
  const std::string bytes("\x00\x7f\xff", 3);
  CHECK(HexEncode(bytes) == "007fff");
  CHECK(*HexDecode("007FfF") == bytes);
  CHECK_FALSE(HexDecode("0").ok());
  CHECK_FALSE(HexDecode("0x").ok());
}

}  // namespace
}  // namespace dstack::base
