#pragma once

#include <string>
#include <string_view>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "libs/base/secret.h"

// Keys in OpenSSH's formats. Pure, in memory; nothing touches the disk.
namespace dstack::ssh {

struct KeyPair {
  // One line of authorized_keys: type, base64, comment.
  std::string public_key;
  // "-----BEGIN OPENSSH PRIVATE KEY-----" with its line ends, no passphrase.
  base::Secret private_key;
};

// A new Ed25519 pair. The comment must be one line.
absl::StatusOr<KeyPair> GenerateKeyPair(std::string_view comment);

// The pair that belongs to 32 bytes, always the same. They must be secret and as good as random.
absl::StatusOr<KeyPair> KeyPairFromSeed(const base::Secret& seed, std::string_view comment);

// "SHA256:..." as ssh-keygen -l prints it, of a line "type base64 [comment]". INVALID_ARGUMENT when
// it is no public key.
absl::StatusOr<std::string> Fingerprint(std::string_view public_key);

// "type base64", without options, comment or host names. Takes a line of authorized_keys or of
// known_hosts. INVALID_ARGUMENT when there is no key in it.
absl::StatusOr<std::string> BareKey(std::string_view line);

// What to write into a file for ssh: line ends are those of Unix and the last line has one, without
// which ssh cannot read it.
base::Secret NormalizePrivateKey(const base::Secret& key);

}  // namespace dstack::ssh
