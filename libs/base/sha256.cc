#include "libs/base/sha256.h"

#include <array>
#include <cerrno>
#include <cstdlib>

#include <fcntl.h>
#include <openssl/evp.h>

#include "libs/base/file.h"
#include "libs/base/status.h"

namespace dstack::base {
namespace {

constexpr std::string_view kHexDigits = "0123456789abcdef";
constexpr std::size_t kReadBytes = 64 << 10;

int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

struct Sha256::State {
  State() : context(EVP_MD_CTX_new()) { Start(); }
  ~State() { EVP_MD_CTX_free(context); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  // Fails only without memory.
  void Start() {
    if (context == nullptr || EVP_DigestInit_ex(context, EVP_sha256(), nullptr) != 1) std::abort();
  }

  EVP_MD_CTX* context;
};

Sha256::Sha256() : state_(std::make_unique<State>()) {}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::Update(std::string_view bytes) {
  if (EVP_DigestUpdate(state_->context, bytes.data(), bytes.size()) != 1) std::abort();
}

std::string Sha256::Finish() {
  std::string digest(32, '\0');
  if (EVP_DigestFinal_ex(
          state_->context, reinterpret_cast<unsigned char*>(digest.data()), nullptr) != 1) {
    std::abort();
  }
  state_->Start();
  return digest;
}

std::string Sha256::FinishHex() { return HexEncode(Finish()); }

std::string Sha256Bytes(std::string_view bytes) {
  Sha256 hash;
  hash.Update(bytes);
  return hash.Finish();
}

std::string Sha256Hex(std::string_view bytes) { return HexEncode(Sha256Bytes(bytes)); }

absl::StatusOr<std::string> Sha256HexOfFile(const std::string& path) {
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return ErrnoError(errno, "opening " + path);
  Sha256 hash;
  std::array<char, kReadBytes> buffer;
  while (true) {
    ASSIGN_OR_RETURN(const std::size_t n, ReadSome(fd.get(), buffer.data(), buffer.size()));
    if (n == 0) return hash.FinishHex();
    hash.Update({buffer.data(), n});
  }
}

std::string HexEncode(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    text += kHexDigits[byte >> 4];
    text += kHexDigits[byte & 0x0f];
  }
  return text;
}

absl::StatusOr<std::string> HexDecode(std::string_view text) {
  if (text.size() % 2 != 0) return Invalid("hexadecimal text has an odd number of digits");
  std::string bytes;
  bytes.reserve(text.size() / 2);
  for (std::size_t i = 0; i < text.size(); i += 2) {
    const int high = HexValue(text[i]);
    const int low = HexValue(text[i + 1]);
    if (high < 0 || low < 0) {
      return Invalid(fmt::format("not a hexadecimal digit at offset {}", high < 0 ? i : i + 1));
    }
    bytes += static_cast<char>(high * 16 + low);
  }
  return bytes;
}

}  // namespace dstack::base
