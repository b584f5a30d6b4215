#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "libs/base/secret.h"

namespace dstack::server {

// Seals what must not lie readable in the database: AES-256-GCM with a random nonce. Immutable and
// thread-safe.
//
// Envelope: version (1 byte, 1), key check (4 bytes: start of SHA-256 of the key), nonce (12),
// ciphertext, tag (16). The version leaves room for another cipher, the key check tells a wrong key
// from damage.
class SecretBox {
 public:
  // `key`: 32 raw bytes. INVALID_ARGUMENT for another length.
  static absl::StatusOr<SecretBox> Create(const base::Secret& key);

  // `place` names where the value lies ("runs.spec:<id>"); it is authenticated, so that a sealed
  // value that is copied to another row or column does not open.
  std::string Seal(std::string_view plain, std::string_view place) const;

  // INTERNAL when the value is damaged, lies at another place or was sealed with another key.
  absl::StatusOr<std::string> Open(std::string_view sealed, std::string_view place) const;

 private:
  explicit SecretBox(const base::Secret& key);

  base::Secret key_;
  std::string key_check_;
};

}  // namespace dstack::server
