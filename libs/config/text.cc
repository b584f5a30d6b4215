#include "libs/config/text.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include <fmt/format.h>

namespace dstack::config {

namespace {

constexpr size_t kExcerptBytes = 60;

// Length of the UTF-8 sequence that begins with `lead`; 0 where none does.
size_t SequenceLength(unsigned char lead) {
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return 2;
  if (lead >= 0xE0 && lead <= 0xEF) return 3;
  if (lead >= 0xF0 && lead <= 0xF4) return 4;
  return 0;
}

// Overlong forms, surrogates and values above U+10FFFF show in the second byte.
bool IsValidSecondByte(unsigned char lead, unsigned char second) {
  switch (lead) {
    case 0xE0:
      return second >= 0xA0;
    case 0xED:
      return second <= 0x9F;
    case 0xF0:
      return second >= 0x90;
    case 0xF4:
      return second <= 0x8F;
    default:
      return true;
  }
}

// Edits (insert, remove, replace) that turn one word into the other.
// Two letters in the wrong order count as one mistake.
bool IsSwap(std::string_view a, std::string_view b) {
  if (a.size() != b.size() || a.size() < 2) return false;
  const auto first =
      static_cast<size_t>(std::mismatch(a.begin(), a.end(), b.begin()).first - a.begin());
  return first + 1 < a.size() && a[first] == b[first + 1] && a[first + 1] == b[first] &&
         a.substr(first + 2) == b.substr(first + 2);
}

size_t EditDistance(std::string_view a, std::string_view b) {
  if (IsSwap(a, b)) return 1;
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row[b.size()];
}

// Digits without the single underscores between them; nullopt for any other text.
std::optional<std::string> PlainDigits(std::string_view text) {
  std::string digits;
  for (size_t i = 0; i < text.size(); ++i) {
    if (IsAsciiDigit(text[i])) {
      digits += text[i];
      continue;
    }
    const bool between =
        i > 0 && i + 1 < text.size() && IsAsciiDigit(text[i - 1]) && IsAsciiDigit(text[i + 1]);
    if (text[i] != '_' || !between) return std::nullopt;
  }
  if (digits.empty()) return std::nullopt;
  return digits;
}

}  // namespace

absl::Status BrokenRule(std::string_view rule) {
  return absl::InvalidArgumentError(absl::string_view(rule.data(), rule.size()));
}

std::string MessageOf(const absl::Status& status) { return std::string(status.message()); }

bool IsAsciiDigit(char c) { return c >= '0' && c <= '9'; }
bool IsAsciiAlpha(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool IsAsciiAlnum(char c) { return IsAsciiDigit(c) || IsAsciiAlpha(c); }

std::string AsciiLower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

std::string_view TrimBlanks(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\n\r\f\v";
  const size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

std::string WithoutSpaces(std::string_view text) {
  std::string result(text);
  std::erase(result, ' ');
  return result;
}

std::vector<std::string> SplitOn(std::string_view text, char separator) {
  std::vector<std::string> parts;
  size_t begin = 0;
  while (true) {
    const size_t end = text.find(separator, begin);
    if (end == std::string_view::npos) break;
    parts.emplace_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  parts.emplace_back(text.substr(begin));
  return parts;
}

std::string Join(const std::vector<std::string>& parts, std::string_view separator) {
  return fmt::format("{}", fmt::join(parts, separator));
}

bool IsAllDigits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), IsAsciiDigit);
}

bool IsValidUtf8(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const size_t length = SequenceLength(lead);
    if (length == 0 || i + length > text.size()) return false;
    for (size_t k = 1; k < length; ++k) {
      const auto next = static_cast<unsigned char>(text[i + k]);
      if ((next & 0xC0U) != 0x80U) return false;
      if (k == 1 && !IsValidSecondByte(lead, next)) return false;
    }
    i += length;
  }
  return true;
}

std::optional<int64_t> ParseInteger(std::string_view text) {
  text = TrimBlanks(text);
  std::string number;
  if (!text.empty() && (text.front() == '-' || text.front() == '+')) {
    if (text.front() == '-') number = "-";
    text.remove_prefix(1);
  }
  const size_t dot = text.find('.');
  if (dot != std::string_view::npos) {
    const std::string_view fraction = text.substr(dot + 1);
    if (fraction.empty() || fraction.find_first_not_of('0') != std::string_view::npos) {
      return std::nullopt;
    }
    text = text.substr(0, dot);
  }
  const std::optional<std::string> digits = PlainDigits(text);
  if (!digits) return std::nullopt;
  number += *digits;
  int64_t value = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
  if (error != std::errc() || end != number.data() + number.size()) return std::nullopt;
  return value;
}

std::optional<double> ParseDecimal(std::string_view text) {
  std::string number;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool between =
        i > 0 && i + 1 < text.size() && IsAsciiDigit(text[i - 1]) && IsAsciiDigit(text[i + 1]);
    if (text[i] == '_' && between) continue;
    number += text[i];
  }
  if (!number.empty() && number.front() == '+') number.erase(0, 1);
  if (number.empty() || (!IsAsciiDigit(number.back()) && number.back() != '.')) {
    return std::nullopt;  // refuses `inf`, `nan` and a bare sign
  }
  double value = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
  if (error != std::errc() || end != number.data() + number.size()) return std::nullopt;
  if (!std::isfinite(value)) return std::nullopt;
  return value;
}

std::string FloatText(double value) {
  std::string text = fmt::format("{}", value);
  if (text.find_first_of(".eEni") == std::string::npos) text += ".0";
  return text;
}

std::optional<bool> ParseLaxBool(std::string_view text) {
  const std::string word = AsciiLower(text);
  for (const char* yes : {"1", "t", "true", "y", "yes", "on"}) {
    if (word == yes) return true;
  }
  for (const char* no : {"0", "f", "false", "n", "no", "off"}) {
    if (word == no) return false;
  }
  return std::nullopt;
}

std::optional<std::string> Nearest(std::string_view word, const std::vector<std::string>& known) {
  // Of versions and other numbers none is nearer than the other.
  if (word.size() > 64 || std::none_of(word.begin(), word.end(), IsAsciiAlpha)) return std::nullopt;
  const std::string lower = AsciiLower(word);
  std::optional<std::string> best;
  size_t best_distance = word.size() <= 4 ? 2 : word.size() / 3 + 1;  // exclusive
  for (const std::string& candidate : known) {
    const size_t distance = EditDistance(lower, AsciiLower(candidate));
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  if (best) return best;
  // `command` for `commands`, `gpus` for `gpu`: too far for short words, yet clearly meant.
  for (const std::string& candidate : known) {
    if (lower.size() >= 3 && (candidate.starts_with(lower) || lower.starts_with(candidate))) {
      return candidate;
    }
  }
  return std::nullopt;
}

std::string Excerpt(std::string_view text) {
  std::string line;
  size_t i = 0;
  while (i < text.size() && line.size() < kExcerptBytes) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const size_t length = SequenceLength(lead);
    if (lead < 0x20 || lead == 0x7F || length == 0 || i + length > text.size()) {
      line += text[i] == '\n' ? std::string("\\n") : fmt::format("\\x{:02x}", lead);
      ++i;
      continue;
    }
    line += text.substr(i, length);
    i += length;
  }
  if (i < text.size()) line += "...";
  return line;
}

std::string AlternativesText(const std::vector<std::string>& words) {
  std::string text;
  for (size_t i = 0; i < words.size(); ++i) {
    if (i > 0) text += i + 1 == words.size() ? " or " : ", ";
    text += '`' + words[i] + '`';
  }
  return text;
}

}  // namespace dstack::config
