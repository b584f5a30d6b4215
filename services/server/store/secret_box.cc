#include "services/server/store/secret_box.h"

#include <cstdlib>
#include <memory>

#include <openssl/evp.h>

#include "fmt/format.h"
#include "libs/base/random.h"
#include "libs/base/sha256.h"
#include "libs/base/status.h"

namespace dstack::server {
namespace {

constexpr char kVersion = 1;
constexpr std::size_t kKeyBytes = 32;
constexpr std::size_t kCheckBytes = 4;
constexpr std::size_t kNonceBytes = 12;
constexpr std::size_t kTagBytes = 16;
constexpr std::size_t kHeaderBytes = 1 + kCheckBytes + kNonceBytes;

struct ContextCleaner {
  void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
};
using ContextPtr = std::unique_ptr<EVP_CIPHER_CTX, ContextCleaner>;

const unsigned char* Unsigned(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}
unsigned char* Unsigned(char* text) { return reinterpret_cast<unsigned char*>(text); }

// OpenSSL fails here only for want of memory or through wrong use.
void MustSucceed(int result) {
  if (result != 1) std::abort();
}

}  // namespace

SecretBox::SecretBox(const base::Secret& key)
    : key_(key), key_check_(base::Sha256Bytes(key.Reveal()).substr(0, kCheckBytes)) {}

absl::StatusOr<SecretBox> SecretBox::Create(const base::Secret& key) {
  if (key.Reveal().size() != kKeyBytes) {
    return base::Invalid(fmt::format(
        "the encryption key has {} bytes, it must have {}", key.Reveal().size(), kKeyBytes));
  }
  return SecretBox(key);
}

std::string SecretBox::Seal(std::string_view plain, std::string_view place) const {
  const std::string nonce = base::SecureRandomBytes(kNonceBytes);
  std::string out = std::string(1, kVersion) + key_check_ + nonce;
  out.resize(kHeaderBytes + plain.size() + kTagBytes);
  char* body = out.data() + kHeaderBytes;

  const ContextPtr context(EVP_CIPHER_CTX_new());
  int length = 0;
  MustSucceed(EVP_EncryptInit_ex(
      context.get(), EVP_aes_256_gcm(), nullptr, Unsigned(key_.Reveal()), Unsigned(nonce)));
  MustSucceed(EVP_EncryptUpdate(
      context.get(), nullptr, &length, Unsigned(place), static_cast<int>(place.size())));
  MustSucceed(EVP_EncryptUpdate(
      context.get(), Unsigned(body), &length, Unsigned(plain), static_cast<int>(plain.size())));
  MustSucceed(EVP_EncryptFinal_ex(context.get(), Unsigned(body) + length, &length));
  MustSucceed(
      EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_GCM_GET_TAG, kTagBytes, body + plain.size()));
  return out;
}

absl::StatusOr<std::string> SecretBox::Open(std::string_view sealed, std::string_view place) const {
  if (sealed.size() < kHeaderBytes + kTagBytes || sealed[0] != kVersion) {
    return base::Internal(fmt::format("{}: not a sealed value", place));
  }
  if (sealed.substr(1, kCheckBytes) != key_check_) {
    return base::Internal(
        fmt::format("{}: sealed with another encryption key than that of this server", place));
  }
  const std::string_view nonce = sealed.substr(1 + kCheckBytes, kNonceBytes);
  std::string_view body = sealed.substr(kHeaderBytes);
  std::string tag(body.substr(body.size() - kTagBytes));
  body.remove_suffix(kTagBytes);

  const ContextPtr context(EVP_CIPHER_CTX_new());
  std::string plain(body.size(), '\0');
  int length = 0;
  MustSucceed(EVP_DecryptInit_ex(
      context.get(), EVP_aes_256_gcm(), nullptr, Unsigned(key_.Reveal()), Unsigned(nonce)));
  MustSucceed(EVP_DecryptUpdate(
      context.get(), nullptr, &length, Unsigned(place), static_cast<int>(place.size())));
  MustSucceed(EVP_DecryptUpdate(context.get(),
                                Unsigned(plain.data()),
                                &length,
                                Unsigned(body),
                                static_cast<int>(body.size())));
  MustSucceed(EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_GCM_SET_TAG, kTagBytes, tag.data()));
  if (EVP_DecryptFinal_ex(context.get(), Unsigned(plain.data()) + length, &length) != 1) {
    return base::Internal(fmt::format("{}: the sealed value is damaged", place));
  }
  return plain;
}

}  // namespace dstack::server
