#include "libs/config/private_address.h"

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include <arpa/inet.h>

#include "libs/config/text.h"

namespace dstack::config {

namespace {

struct Range {
  const char* address;
  int prefix_bits;
};

// IANA special-purpose address registries: what is not globally reachable.
constexpr std::array kPrivateRanges = {
    Range{"0.0.0.0", 8},      Range{"10.0.0.0", 8},         Range{"127.0.0.0", 8},
    Range{"169.254.0.0", 16}, Range{"172.16.0.0", 12},      Range{"192.0.0.0", 29},
    Range{"192.0.0.170", 31}, Range{"192.0.2.0", 24},       Range{"192.168.0.0", 16},
    Range{"198.18.0.0", 15},  Range{"198.51.100.0", 24},    Range{"203.0.113.0", 24},
    Range{"240.0.0.0", 4},    Range{"255.255.255.255", 32}, Range{"::1", 128},
    Range{"::", 128},         Range{"::ffff:0:0", 96},      Range{"100::", 64},
    Range{"2001::", 23},      Range{"2001:db8::", 32},      Range{"2002::", 16},
    Range{"fc00::", 7},       Range{"fe80::", 10}};

// 4 or 16 bytes, most significant first.
using Bytes = std::vector<uint8_t>;

std::optional<Bytes> ParseAddress(const std::string& text) {
  Bytes bytes(4);
  if (inet_pton(AF_INET, text.c_str(), bytes.data()) == 1) return bytes;
  bytes.resize(16);
  if (inet_pton(AF_INET6, text.c_str(), bytes.data()) == 1) return bytes;
  return std::nullopt;
}

bool SharePrefix(const Bytes& a, const Bytes& b, int bits) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size() && bits > 0; ++i, bits -= 8) {
    const unsigned mask = bits >= 8 ? 0xFFU : (0xFFU << (8 - bits)) & 0xFFU;
    if ((a[i] & mask) != (b[i] & mask)) return false;
  }
  return true;
}

bool IsPrivate(const Bytes& address, int prefix_bits) {
  for (const Range& range : kPrivateRanges) {
    const std::optional<Bytes> base = ParseAddress(range.address);
    if (prefix_bits >= range.prefix_bits && SharePrefix(address, *base, range.prefix_bits)) {
      return true;
    }
  }
  return false;
}

}  // namespace

absl::Status CheckPrivateAddress(const std::string& address) {
  const std::optional<Bytes> bytes = ParseAddress(address);
  if (!bytes) return BrokenRule("must be an IP address");
  if (!IsPrivate(*bytes, static_cast<int>(bytes->size()) * 8)) {
    return BrokenRule("must be a private IP address");
  }
  return absl::OkStatus();
}

absl::Status CheckPrivateNetwork(const std::string& network) {
  const std::vector<std::string> parts = SplitOn(network, '/');
  const std::optional<Bytes> bytes = ParseAddress(parts[0]);
  if (!bytes || parts.size() > 2) return BrokenRule("must be a network such as `10.0.0.0/24`");
  const int most_bits = static_cast<int>(bytes->size()) * 8;
  int64_t bits = most_bits;
  if (parts.size() == 2) {
    const std::optional<int64_t> given =
        IsAllDigits(parts[1]) ? ParseInteger(parts[1]) : std::nullopt;
    if (!given || *given > most_bits) return BrokenRule("must be a network such as `10.0.0.0/24`");
    bits = *given;
  }
  if (!IsPrivate(*bytes, static_cast<int>(bits))) return BrokenRule("must be a private network");
  return absl::OkStatus();
}

}  // namespace dstack::config
