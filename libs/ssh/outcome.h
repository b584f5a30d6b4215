#pragma once

#include <string>
#include <string_view>

#include <absl/status/status.h>

// What the OpenSSH client's messages mean.
namespace dstack::ssh {

enum class Failure {
  kUnknown,
  kAuthenticationRefused,  // none of the keys may log in
  kIdentityUnusable,       // a private key cannot be read: not a key, or protected by a passphrase
  kHostKeyChanged,         // not the key that was recorded
  kTimeout,
  kConnectionRefused,
  kNameLookup,
  kNoRoute,
  kForwardRefused,    // AllowTcpForwarding or AllowStreamLocalForwarding is off
  kConnectionClosed,  // by the other side, before or after the login
};

// One table, first match wins. `log` is what ssh wrote to standard error.
Failure Classify(std::string_view log);

// Fingerprint ("SHA256:...") of the key that the host showed instead of the recorded one; empty
// when the log does not tell.
std::string OfferedFingerprint(std::string_view log);

// Error for people about a connection that could not be opened or broke. `destination` is
// user@host:port. `recorded_fingerprint` may be empty.
//   FAILED_PRECONDITION/HOST_KEY_CHANGED  with both fingerprints in message and metadata
//   PERMISSION_DENIED/ACCESS_DENIED       keys are refused or unusable
//   UNAVAILABLE/HOST_UNREACHABLE          everything else
absl::Status ConnectionError(std::string_view log,
                             const std::string& destination,
                             const std::string& recorded_fingerprint);

}  // namespace dstack::ssh
