#include "libs/ssh/outcome.h"

#include <vector>

#include <catch2/catch.hpp>

#include "libs/base/status.h"

namespace dstack::ssh {
namespace {

constexpr const char* kChanged =
    "@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@\n"
    "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n"
    "@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@\n"
    "IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!\n"
    "The fingerprint for the ED25519 key sent by the remote host is\n"
    "SHA256:RoPIRfIFDyGFN/c42XGO0m0EqGW2rO3ZPm4tWFvdKdk.\n"
    "Please contact your system administrator.\n"
    "Host key verification failed.\n";

TEST_CASE("what ssh says is understood") {
  struct Case {
    const char* name;
    const char* log;
    Failure failure;
  };
  const std::vector<Case> cases = {
      {"publickey", "u@h: Permission denied (publickey).\n", Failure::kAuthenticationRefused},
      {"too many",
       "Received disconnect from 1.2.3.4 port 22:2: Too many authentication failures",
       Failure::kAuthenticationRefused},
      {"passphrase",
       "Load key \"/k\": incorrect passphrase supplied to decrypt private key\r\n"
       "u@h: Permission denied (publickey).",
       Failure::kIdentityUnusable},
      {"no key",
       "Load key \"/k\": error in libcrypto\nu@h: Permission denied (publickey).",
       Failure::kIdentityUnusable},
      {"changed", kChanged, Failure::kHostKeyChanged},
      {"other type",
       "No RSA host key is known for host and you have requested strict checking.\n"
       "Host key verification failed.",
       Failure::kHostKeyChanged},
      {"connect timeout",
       "ssh: connect to host 10.0.0.9 port 22: Connection timed out",
       Failure::kTimeout},
      {"banner timeout", "Connection timed out during banner exchange", Failure::kTimeout},
      {"keepalive", "Timeout, server 10.0.0.9 not responding.", Failure::kTimeout},
      {"refused",
       "ssh: connect to host 127.0.0.1 port 9: Connection refused",
       Failure::kConnectionRefused},
      {"name",
       "ssh: Could not resolve hostname nope: Name or service not known",
       Failure::kNameLookup},
      {"route", "ssh: connect to host 10.0.0.9 port 22: No route to host", Failure::kNoRoute},
      {"storm",
       "kex_exchange_identification: Connection closed by remote host",
       Failure::kConnectionClosed},
      {"forward",
       "mux_client_forward: forwarding request failed: Port forwarding failed",
       Failure::kForwardRefused},
      {"nothing", "", Failure::kUnknown},
  };
  for (const Case& c : cases) {
    INFO(c.name);
    CHECK(Classify(c.log) == c.failure);
  }
}

TEST_CASE("a changed host key names both fingerprints") {
  const absl::Status status = ConnectionError(kChanged, "u@h:22", "SHA256:old");
  CHECK(status.code() == absl::StatusCode::kFailedPrecondition);
  CHECK(base::Reason(status) == "HOST_KEY_CHANGED");
  CHECK_THAT(std::string(base::Message(status)),
             Catch::Contains("SHA256:RoPIRfIFDyGFN/c42XGO0m0EqGW2rO3ZPm4tWFvdKdk") &&
                 Catch::Contains("SHA256:old"));
}

TEST_CASE("errors keep ssh's own last line and carry a code") {
  const absl::Status denied =
      ConnectionError("u@h: Permission denied (publickey).\n", "u@h:22", "");
  CHECK(denied.code() == absl::StatusCode::kPermissionDenied);
  CHECK_THAT(std::string(base::Message(denied)),
             Catch::Contains("u@h:22: the host accepts none of the given keys (ssh: u@h: Perm"));
  const absl::Status refused = ConnectionError("Connection refused", "u@h:22", "");
  CHECK(refused.code() == absl::StatusCode::kUnavailable);
  CHECK(base::Reason(refused) == "HOST_UNREACHABLE");
}

}  // namespace
}  // namespace dstack::ssh
