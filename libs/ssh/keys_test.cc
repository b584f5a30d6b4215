#include "libs/ssh/keys.h"

#include <catch2/catch.hpp>

namespace dstack::ssh {
namespace {

// A public key and what `ssh-keygen -l` prints for it.
constexpr const char* kKey =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";
constexpr const char* kFingerprint = "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU";

TEST_CASE("fingerprints are those of ssh-keygen") {
  CHECK(*Fingerprint(kKey) == kFingerprint);
  CHECK(*Fingerprint(std::string(kKey) + " git@github.com\n") == kFingerprint);
}

TEST_CASE("the key is found in lines of both files") {
  CHECK(*BareKey(std::string("host,10.0.0.1 ") + kKey) == kKey);
  CHECK(*BareKey(std::string("command=\"x\",no-pty ") + kKey + " comment") == kKey);
  for (const char* text : {"", "ssh-ed25519", "ssh-ed25519 AAAA", "hello world", "ssh-rsa !!!"}) {
    INFO(text);
    CHECK_FALSE(BareKey(text).ok());
  }
}

TEST_CASE("a new pair is readable and never the same") {
  const auto first = GenerateKeyPair("dstack project main");
  const auto second = GenerateKeyPair("dstack project main");
  REQUIRE(first.ok());
  REQUIRE(second.ok());
  CHECK(first->public_key != second->public_key);
  CHECK_THAT(first->public_key, Catch::StartsWith("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5"));
  CHECK_THAT(first->public_key, Catch::EndsWith(" dstack project main"));
  CHECK_THAT(first->private_key.Reveal(),
             Catch::StartsWith("-----BEGIN OPENSSH PRIVATE KEY-----\n"));
  CHECK(Fingerprint(first->public_key).ok());
  CHECK_FALSE(GenerateKeyPair("two\nlines").ok());
}

TEST_CASE("private keys are written as ssh wants them") {
  CHECK(NormalizePrivateKey(base::Secret("a\r\nb")).Reveal() == "a\nb\n");
  CHECK(NormalizePrivateKey(base::Secret("a\n")).Reveal() == "a\n");
}

TEST_CASE("a pair from a seed is always the same, and one that ssh-keygen reads") {
  const base::Secret seed(std::string(32, 's'));
  const auto pair = KeyPairFromSeed(seed, "job");
  REQUIRE(pair.ok());
  CHECK(KeyPairFromSeed(seed, "job")->private_key == pair->private_key);
  CHECK(KeyPairFromSeed(base::Secret(std::string(32, 't')), "job")->public_key != pair->public_key);
  CHECK_FALSE(KeyPairFromSeed(base::Secret("short"), "job").ok());
}

}  // namespace
}  // namespace dstack::ssh
