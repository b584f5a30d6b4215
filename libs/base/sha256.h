#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include <absl/status/statusor.h>

namespace dstack::base {

// SHA-256 in pieces. Not thread-safe.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void Update(std::string_view bytes);
  // 32 raw bytes. Afterwards the object starts anew.
  std::string Finish();
  // 64 lower-case hexadecimal digits.
  std::string FinishHex();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// 32 raw bytes.
std::string Sha256Bytes(std::string_view bytes);
// 64 lower-case hexadecimal digits.
std::string Sha256Hex(std::string_view bytes);
// Digest of a file's content, read in pieces.
absl::StatusOr<std::string> Sha256HexOfFile(const std::string& path);

// Lower-case hexadecimal digits of any bytes, and back (INVALID_ARGUMENT on anything else).
std::string HexEncode(std::string_view bytes);
absl::StatusOr<std::string> HexDecode(std::string_view text);

}  // namespace dstack::base
