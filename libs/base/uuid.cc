#include "libs/base/uuid.h"

#include <cctype>

#include <fmt/format.h>

#include "libs/base/random.h"

namespace dstack::base {

std::string NewUuid() {
  std::string bytes = SecureRandomBytes(16);
  // RFC 4122, 4.4: version in the high nibble of byte 6, variant in the high bits of byte 8.
  bytes[6] = static_cast<char>((bytes[6] & 0x0f) | 0x40);
  bytes[8] = static_cast<char>((bytes[8] & 0x3f) | 0x80);
  std::string text;
  text.reserve(36);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    fmt::format_to(std::back_inserter(text), "{:02x}", static_cast<unsigned char>(bytes[i]));
  }
  return text;
}

bool IsUuid(std::string_view text) {
  if (text.size() != 36) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool is_dash = i == 8 || i == 13 || i == 18 || i == 23;
    if (is_dash != (text[i] == '-')) return false;
    if (!is_dash && std::isxdigit(static_cast<unsigned char>(text[i])) == 0) return false;
  }
  return true;
}

std::string SequentialIdSource::NewId() {
  return fmt::format("00000000-0000-4000-8000-{:012x}", next_.fetch_add(1));
}

}  // namespace dstack::base
