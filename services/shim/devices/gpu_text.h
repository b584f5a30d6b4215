#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace dstack::shim {

// What the makers' tools print, in the form in which the rest of the system knows it. All pure.

// Trimmed; empty for the words with which tools say that they do not know ("N/A", "[Unknown]",
// "[Not Supported]", "None", "-" and the like, in any case) and for what no tool means to print:
// text with other bytes than the printable ones of ASCII.
std::string KnownText(std::string_view text);

// Without a last line that does not end: a list that was cut off.
std::string_view WholeLines(std::string_view text);

// "A100-SXM4-40GB" of "NVIDIA A100-SXM4-40GB": without the maker's words.
std::string ShortNvidiaName(std::string_view name);

// "MI300X" of "AMD Instinct MI300X OAM", "Radeon RX 7900 XTX" of "AMD Radeon RX 7900 XTX".
std::string ShortAmdName(std::string_view name);

// "Gaudi2" of "HL-225B"; the text itself for models that are not known.
std::string GaudiName(std::string_view name);

// "0000:01:00.0" of "00000000:01:00.0" or "0000:01:00.0", lower case; empty for anything else.
std::string PciAddress(std::string_view text);

// Non-negative number in front of the text, or 0.
std::uint64_t LeadingNumber(std::string_view text);

inline constexpr std::uint64_t kMebibyte = std::uint64_t{1} << 20;
inline constexpr std::uint64_t kGibibyte = std::uint64_t{1} << 30;

}  // namespace dstack::shim
