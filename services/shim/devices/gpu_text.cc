#include "services/shim/devices/gpu_text.h"

#include <array>
#include <charconv>
#include <utility>

#include <absl/strings/ascii.h>
#include <absl/strings/match.h>

#include "libs/base/status.h"

namespace dstack::shim {
namespace {

std::string_view Trim(std::string_view text) {
  return base::ToStd(absl::StripAsciiWhitespace(base::ToAbsl(text)));
}

bool StripPrefix(std::string_view prefix, std::string_view* text) {
  if (!absl::StartsWithIgnoreCase(base::ToAbsl(*text), base::ToAbsl(prefix))) return false;
  text->remove_prefix(prefix.size());
  return true;
}

bool IsHex(std::string_view text, std::size_t size) {
  if (text.size() != size) return false;
  for (const char c : text) {
    if (!absl::ascii_isxdigit(static_cast<unsigned char>(c))) return false;
  }
  return true;
}

}  // namespace

std::string KnownText(std::string_view text) {
  static constexpr std::array<std::string_view, 9> kPlaceholders = {"n/a",
                                                                    "na",
                                                                    "unknown",
                                                                    "unknown error",
                                                                    "not supported",
                                                                    "not available",
                                                                    "none",
                                                                    "null",
                                                                    "-"};
  const std::string_view trimmed = Trim(text);
  std::string_view inner = trimmed;
  if (inner.size() >= 2 && inner.front() == '[' && inner.back() == ']') {
    inner = Trim(inner.substr(1, inner.size() - 2));
  }
  for (const std::string_view placeholder : kPlaceholders) {
    if (absl::EqualsIgnoreCase(base::ToAbsl(inner), base::ToAbsl(placeholder))) return "";
  }
  for (const char c : trimmed) {
    if (!absl::ascii_isprint(static_cast<unsigned char>(c))) return "";
  }
  return std::string(trimmed);
}

std::string_view WholeLines(std::string_view text) { return text.substr(0, text.rfind('\n') + 1); }

std::string ShortNvidiaName(std::string_view name) {
  std::string_view rest = Trim(name);
  for (const std::string_view word : {"NVIDIA ", "Tesla ", "GeForce ", "Quadro "}) {
    StripPrefix(word, &rest);
  }
  return std::string(rest);
}

std::string ShortAmdName(std::string_view name) {
  std::string_view rest = Trim(name);
  StripPrefix("AMD ", &rest);
  if (!StripPrefix("Instinct ", &rest) && !absl::StartsWithIgnoreCase(base::ToAbsl(rest), "MI")) {
    return std::string(rest);
  }
  // The model ends where the form factor begins: "MI300X OAM", "MI300X-O", "MI210 VF".
  return std::string(rest.substr(0, rest.find_first_of(" -_/")));
}

std::string GaudiName(std::string_view name) {
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 4> kModels = {
      {{"HL-205", "Gaudi"}, {"HL-225", "Gaudi2"}, {"HL-325", "Gaudi3"}, {"HL-338", "Gaudi3"}}};
  const std::string_view trimmed = Trim(name);
  for (const auto& [prefix, model] : kModels) {
    if (absl::StartsWithIgnoreCase(base::ToAbsl(trimmed), base::ToAbsl(prefix))) {
      return std::string(model);
    }
  }
  return std::string(trimmed);
}

std::string PciAddress(std::string_view text) {
  std::string address(Trim(text));
  absl::AsciiStrToLower(&address);
  // NVIDIA prints eight digits of the domain, of which the kernel uses the lower four or more.
  if (address.size() == 16 && address.starts_with("0000")) address.erase(0, 4);
  const bool is_address = address.size() == 12 && IsHex(address.substr(0, 4), 4) &&
                          address[4] == ':' && IsHex(address.substr(5, 2), 2) &&
                          address[7] == ':' && IsHex(address.substr(8, 2), 2) &&
                          address[10] == '.' && IsHex(address.substr(11, 1), 1);
  return is_address ? address : "";
}

std::uint64_t LeadingNumber(std::string_view text) {
  const std::string_view trimmed = Trim(text);
  std::uint64_t value = 0;
  const auto result = std::from_chars(trimmed.data(), trimmed.data() + trimmed.size(), value);
  return result.ec == std::errc() ? value : 0;
}

}  // namespace dstack::shim
