// Small helpers on text that several parsers of this library share.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/status.h>

namespace dstack::config {

// An error whose message is the rule that a value breaks, in words that follow the field's name.
absl::Status BrokenRule(std::string_view rule);
std::string MessageOf(const absl::Status& status);

bool IsAsciiDigit(char c);
bool IsAsciiAlpha(char c);
bool IsAsciiAlnum(char c);
std::string AsciiLower(std::string_view text);
std::string_view TrimBlanks(std::string_view text);
std::string WithoutSpaces(std::string_view text);
// "a:b" on ':' gives {"a", "b"}; an empty text gives one empty part.
std::vector<std::string> SplitOn(std::string_view text, char separator);
std::string Join(const std::vector<std::string>& parts, std::string_view separator);
bool IsAllDigits(std::string_view text);
bool IsValidUtf8(std::string_view text);

// Decimal integer: surrounding blanks, a sign, leading zeros, single `_` between digits and a `.0`
// suffix are accepted. nullopt: not a number or out of range.
std::optional<int64_t> ParseInteger(std::string_view text);

// Decimal number with optional fraction and exponent, no blanks, finite. nullopt: not one.
std::optional<double> ParseDecimal(std::string_view text);

// Shortest decimal text; a whole number keeps `.0`.
std::string FloatText(double value);

// `true yes on y t 1` and their opposites in any case. nullopt: another text.
std::optional<bool> ParseLaxBool(std::string_view text);

// The member of `known` that is nearest to `word`, if one is near enough to be meant.
std::optional<std::string> Nearest(std::string_view word, const std::vector<std::string>& known);

// Text fit for one line of a message: control characters escaped, long text cut.
std::string Excerpt(std::string_view text);

// ``a`, `b` or `c``, for messages.
std::string AlternativesText(const std::vector<std::string>& words);

}  // namespace dstack::config
