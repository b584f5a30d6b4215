#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace dstack::shim {

// A public key as OpenSSH writes it.
struct PublicKey {
  std::string type;    // "ssh-ed25519"
  std::string base64;  // the key itself
  std::string comment;
};

// One line of a .pub file: a known form of type, base64 that names the same type inside, and
// perhaps a comment. Options in front and anything else are refused.
std::optional<PublicKey> ParsePublicKey(std::string_view line);

// "SHA256:..." as ssh-keygen -l prints it; empty when the line is not a public key.
std::string Fingerprint(std::string_view line);

// The lines hold the same key, whatever their comments say. A line that is no key equals nothing.
bool IsSameKey(std::string_view a, std::string_view b);

// A key that may reach some ports of the host's 127.0.0.1, for as long as tasks want it.
struct JumpKey {
  std::string line;  // of a .pub file
  std::set<std::uint16_t> ports;
};

// The line for an authorized_keys file: no shell, no other forward. `owner` marks it as ours.
std::string JumpLine(const JumpKey& key, std::string_view owner);

// The file's text with our lines (those marked with `owner`) replaced by those for `keys`; other
// lines stay byte for byte, also when they are not understood. A key that the file's owner has put
// in by himself is left to him. Keys that occur twice are joined.
std::string WithJumpKeys(std::string_view text,
                         const std::vector<JumpKey>& keys,
                         std::string_view owner);

}  // namespace dstack::shim
