#include "libs/ssh/keys.h"

#include <array>
#include <memory>
#include <vector>

#include <absl/strings/escaping.h>
#include <absl/strings/str_split.h>
#include <fmt/format.h>
#include <openssl/evp.h>

#include "libs/base/random.h"
#include "libs/base/sha256.h"
#include "libs/base/status.h"

namespace dstack::ssh {
namespace {

constexpr std::string_view kKeyType = "ssh-ed25519";
constexpr std::size_t kKeyBytes = 32;

// The string type of RFC 4251: length in four bytes, then the bytes.
std::string SshString(std::string_view bytes) {
  std::string encoded;
  const auto size = static_cast<std::uint32_t>(bytes.size());
  for (int shift = 24; shift >= 0; shift -= 8) encoded += static_cast<char>((size >> shift) & 0xFF);
  return encoded.append(bytes);
}

std::string PublicBlob(std::string_view public_bytes) {
  return SshString(kKeyType) + SshString(public_bytes);
}

std::string Base64(std::string_view bytes) { return absl::Base64Escape(base::ToAbsl(bytes)); }

// Format "openssh-key-v1" (PROTOCOL.key of OpenSSH), no cipher, one key.
// `check` are any four bytes: a reader compares their two copies.
std::string PrivateFile(std::string_view seed,
                        std::string_view public_bytes,
                        std::string_view comment,
                        const std::string& check) {
  std::string secret_part = check + check + SshString(kKeyType) + SshString(public_bytes) +
                            SshString(std::string(seed).append(public_bytes)) + SshString(comment);
  for (char pad = 1; secret_part.size() % 8 != 0; ++pad) secret_part += pad;
  std::string file("openssh-key-v1\0", 15);
  file += SshString("none") + SshString("none") + SshString("");
  file += std::string("\0\0\0\1", 4) + SshString(PublicBlob(public_bytes)) + SshString(secret_part);
  const std::string text = Base64(file);
  std::string armored = "-----BEGIN OPENSSH PRIVATE KEY-----\n";
  constexpr std::size_t kLineLength = 70;
  for (std::size_t at = 0; at < text.size(); at += kLineLength) {
    armored += text.substr(at, kLineLength) + "\n";
  }
  return armored + "-----END OPENSSH PRIVATE KEY-----\n";
}

struct Free {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};

bool IsKeyType(absl::string_view word) {
  return word.rfind("ssh-", 0) == 0 || word.rfind("ecdsa-sha2-", 0) == 0 ||
         word.rfind("sk-", 0) == 0;
}

absl::StatusOr<KeyPair> MakePair(EVP_PKEY* key,
                                 std::string_view comment,
                                 const std::string& check) {
  if (comment.find_first_of(std::string_view("\r\n\0", 3)) != std::string_view::npos) {
    return base::Invalid("the comment of a key must be one line");
  }
  std::array<unsigned char, kKeyBytes> seed{};
  std::array<unsigned char, kKeyBytes> public_bytes{};
  std::size_t seed_size = seed.size();
  std::size_t public_size = public_bytes.size();
  if (key == nullptr || EVP_PKEY_get_raw_private_key(key, seed.data(), &seed_size) != 1 ||
      EVP_PKEY_get_raw_public_key(key, public_bytes.data(), &public_size) != 1) {
    return base::Internal("OpenSSL cannot make an Ed25519 key");
  }
  const std::string public_text(public_bytes.begin(), public_bytes.end());
  const base::Secret seed_text(std::string(seed.begin(), seed.end()));
  seed.fill(0);
  return KeyPair{fmt::format("{} {} {}", kKeyType, Base64(PublicBlob(public_text)), comment),
                 base::Secret(PrivateFile(seed_text.Reveal(), public_text, comment, check))};
}

}  // namespace

absl::StatusOr<KeyPair> GenerateKeyPair(std::string_view comment) {
  const std::unique_ptr<EVP_PKEY, Free> key(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"));
  return MakePair(key.get(), comment, base::SecureRandomBytes(4));
}

absl::StatusOr<KeyPair> KeyPairFromSeed(const base::Secret& seed, std::string_view comment) {
  if (seed.Reveal().size() != kKeyBytes)
    return base::Invalid("the seed of a key must have 32 bytes");
  const std::unique_ptr<EVP_PKEY, Free> key(
      EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519,
                                   nullptr,
                                   reinterpret_cast<const unsigned char*>(seed.Reveal().data()),
                                   seed.Reveal().size()));
  return MakePair(key.get(), comment, base::Sha256Bytes(seed.Reveal()).substr(0, 4));
}

absl::StatusOr<std::string> BareKey(std::string_view line) {
  const std::vector<absl::string_view> words =
      absl::StrSplit(base::ToAbsl(line), absl::ByAnyChar(" \t\r\n"), absl::SkipEmpty());
  for (std::size_t i = 0; i + 1 < words.size(); ++i) {
    std::string blob;
    if (!IsKeyType(words[i]) || !absl::Base64Unescape(words[i + 1], &blob)) continue;
    const std::string type(words[i]);
    // The type stands in the blob again.
    if (blob.rfind(SshString(type), 0) != 0) continue;
    return fmt::format("{} {}", type, std::string(words[i + 1]));
  }
  return base::Invalid("not a public key in OpenSSH's form \"type base64 [comment]\"");
}

absl::StatusOr<std::string> Fingerprint(std::string_view public_key) {
  ASSIGN_OR_RETURN(const std::string bare, BareKey(public_key));
  std::string blob;
  absl::Base64Unescape(bare.substr(bare.find(' ') + 1), &blob);
  std::string digest = Base64(base::Sha256Bytes(blob));
  while (!digest.empty() && digest.back() == '=') digest.pop_back();
  return "SHA256:" + digest;
}

base::Secret NormalizePrivateKey(const base::Secret& key) {
  std::string text;
  for (const char c : key.Reveal()) {
    if (c != '\r') text += c;
  }
  if (text.empty() || text.back() != '\n') text += '\n';
  return base::Secret(std::move(text));
}

}  // namespace dstack::ssh
