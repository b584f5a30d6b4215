#include "libs/config/node.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>
#include <string_view>

#include "libs/config/text.h"

namespace dstack::config {

namespace {

template <size_t N>
bool IsOneOf(std::string_view text, const std::array<const char*, N>& words) {
  return std::any_of(words.begin(), words.end(), [&](const char* word) { return text == word; });
}

constexpr std::array kTrueWords = {"yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"};
constexpr std::array kFalseWords = {
    "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"};
constexpr std::array kNullWords = {"", "~", "null", "Null", "NULL"};
constexpr std::array kInfWords = {".inf", ".Inf", ".INF"};
constexpr std::array kNanWords = {".nan", ".NaN", ".NAN"};

bool HasOnly(std::string_view text, std::string_view allowed) {
  return text.find_first_not_of(allowed) == std::string_view::npos;
}

constexpr std::string_view kDigits = "0123456789_";

struct Sign {
  bool is_negative = false;
  std::string_view rest;
};

Sign TakeSign(std::string_view text) {
  if (!text.empty() && (text.front() == '-' || text.front() == '+')) {
    return {text.front() == '-', text.substr(1)};
  }
  return {false, text};
}

std::optional<int64_t> FromDigits(std::string_view digits, bool is_negative, int base) {
  std::string number = is_negative ? "-" : "";
  for (char c : digits) {
    if (c != '_') number += c;
  }
  int64_t value = 0;
  const auto [end, error] =
      std::from_chars(number.data(), number.data() + number.size(), value, base);
  if (error != std::errc() || end != number.data() + number.size()) return std::nullopt;
  return value;
}

// Text that YAML 1.1 takes for an integer without colons. `base` says how to read the digits.
bool LooksLikeInt(std::string_view text, std::string_view* digits, int* base) {
  if (text.empty()) return false;
  *digits = text;
  *base = 10;
  if (text.front() != '0') return IsAsciiDigit(text.front()) && HasOnly(text, kDigits);
  if (text == "0") return true;
  const bool is_binary = text.starts_with("0b");
  const bool is_hex = text.starts_with("0x");
  *digits = text.substr(is_binary || is_hex ? 2 : 1);
  *base = is_binary ? 2 : is_hex ? 16 : 8;
  if (digits->empty()) return false;
  if (is_binary) return HasOnly(*digits, "01_");
  if (is_hex) return HasOnly(*digits, "0123456789abcdefABCDEF_");
  return HasOnly(*digits, "01234567_");
}

// `22:22` and `1:30:00`: [1-9][0-9_]*(:[0-5]?[0-9])+
std::optional<int64_t> FromSexagesimal(std::string_view text) {
  const std::vector<std::string> parts = SplitOn(text, ':');
  if (parts.size() < 2 || parts[0].empty() || parts[0].front() == '0') return std::nullopt;
  if (!IsAsciiDigit(parts[0].front()) || !HasOnly(parts[0], kDigits)) return std::nullopt;
  std::optional<int64_t> value = FromDigits(parts[0], false, 10);
  for (size_t i = 1; i < parts.size() && value; ++i) {
    const std::string& part = parts[i];
    if (part.empty() || part.size() > 2 || !IsAllDigits(part)) return std::nullopt;
    if (part.size() == 2 && part.front() > '5') return std::nullopt;
    if (*value > std::numeric_limits<int64_t>::max() / 60 - 60) return std::nullopt;
    value = *value * 60 + *FromDigits(part, false, 10);
  }
  return value;
}

// `1.5`, `.5`, `3.`, `1.0e+5`: a point is needed, and a sign in the exponent.
std::optional<double> FromFloat(std::string_view text) {
  const Sign sign = TakeSign(text);
  if (IsOneOf(sign.rest, kInfWords)) {
    const double infinity = std::numeric_limits<double>::infinity();
    return sign.is_negative ? -infinity : infinity;
  }
  if (IsOneOf(text, kNanWords)) return std::numeric_limits<double>::quiet_NaN();
  const size_t point = sign.rest.find('.');
  if (point == std::string_view::npos) return std::nullopt;
  const std::string_view whole = sign.rest.substr(0, point);
  std::string_view fraction = sign.rest.substr(point + 1);
  const size_t exponent = fraction.find_first_of("eE");
  if (exponent != std::string_view::npos) {
    const std::string_view power = fraction.substr(exponent + 1);
    if (power.size() < 2 || (power.front() != '-' && power.front() != '+')) return std::nullopt;
    if (!IsAllDigits(power.substr(1))) return std::nullopt;
    fraction = fraction.substr(0, exponent);
  }
  if (!HasOnly(whole, kDigits) || !HasOnly(fraction, kDigits)) return std::nullopt;
  // A leading point allows no sign in YAML 1.1.
  if (whole.empty() && (text.front() != '.' || fraction.empty())) return std::nullopt;
  if (!whole.empty() && !IsAsciiDigit(whole.front())) return std::nullopt;
  std::string number(text);
  std::erase(number, '_');
  return ParseDecimal(number);
}

bool LooksLikeDate(std::string_view text) {
  if (text.size() < 8 || !IsAllDigits(text.substr(0, 4)) || text[4] != '-') return false;
  const bool is_plain = text.size() == 10 && IsAllDigits(text.substr(5, 2)) && text[7] == '-' &&
                        IsAllDigits(text.substr(8, 2));
  if (is_plain) return true;
  // The long form: date, `T` or blanks, time with colons, perhaps a zone.
  const size_t time = text.find_first_of("Tt ", 5);
  return time != std::string_view::npos && HasOnly(text.substr(5, time - 5), "0123456789-") &&
         text.find(':', time) != std::string_view::npos &&
         HasOnly(text.substr(time), "0123456789:.Ttz Z+-");
}

void SetInt(int64_t value, Node* node) {
  node->kind = NodeKind::kInt;
  node->int_value = value;
  node->text = std::to_string(value);
}

// True where the text is an integer. One beyond 64 bits becomes a float that keeps its digits.
bool ResolveInt(const std::string& text, Node* node) {
  const Sign sign = TakeSign(text);
  std::string_view digits;
  int base = 10;
  if (LooksLikeInt(sign.rest, &digits, &base)) {
    if (const std::optional<int64_t> value = FromDigits(digits, sign.is_negative, base)) {
      SetInt(*value, node);
      return true;
    }
    node->kind = NodeKind::kFloat;
    node->float_value =
        sign.is_negative ? -std::numeric_limits<double>::max() : std::numeric_limits<double>::max();
    return true;
  }
  const std::optional<int64_t> sexagesimal = FromSexagesimal(sign.rest);
  if (!sexagesimal) return false;
  SetInt(sign.is_negative ? -*sexagesimal : *sexagesimal, node);
  node->is_sexagesimal = true;
  return true;
}

}  // namespace

Node ResolvePlain(const std::string& text) {
  Node node;
  node.text = text;
  node.source = text;
  if (IsOneOf(text, kNullWords)) return node;
  const bool is_true = IsOneOf(text, kTrueWords);
  if (is_true || IsOneOf(text, kFalseWords)) {
    node.kind = NodeKind::kBool;
    node.bool_value = is_true;
    return node;
  }
  if (text.size() < 128 && ResolveInt(text, &node)) return node;
  if (text.size() < 128) {
    if (const std::optional<double> value = FromFloat(text)) {
      node.kind = NodeKind::kFloat;
      node.float_value = *value;
      node.text = FloatText(*value);
      return node;
    }
  }
  node.kind = LooksLikeDate(text) ? NodeKind::kDate : NodeKind::kString;
  return node;
}

absl::StatusOr<std::string> ToText(const Node& node) {
  switch (node.kind) {
    case NodeKind::kInt:
      // `22:22`: text is taken as it is written.
      return node.is_sexagesimal ? node.source : node.text;
    case NodeKind::kString:
    case NodeKind::kFloat:
      return node.text;
    case NodeKind::kBool:
      return BrokenRule("must be a string; YAML reads this word as a boolean, put it in quotes");
    case NodeKind::kDate:
      return BrokenRule("must be a string; YAML reads this as a date, put it in quotes");
    default:
      return BrokenRule("must be a string, not " + KindName(node.kind));
  }
}

absl::StatusOr<int64_t> ToInt(const Node& node) {
  constexpr std::string_view kRule = "must be a whole number";
  switch (node.kind) {
    case NodeKind::kInt:
      return node.int_value;
    case NodeKind::kBool:
      return node.bool_value ? 1 : 0;
    case NodeKind::kFloat: {
      const bool fits = std::isfinite(node.float_value) && std::abs(node.float_value) < 9e18;
      if (!fits || std::trunc(node.float_value) != node.float_value) return BrokenRule(kRule);
      return static_cast<int64_t>(node.float_value);
    }
    case NodeKind::kString: {
      const std::optional<int64_t> value = ParseInteger(node.text);
      if (!value) return BrokenRule(kRule);
      return *value;
    }
    default:
      return BrokenRule(std::string(kRule) + ", not " + KindName(node.kind));
  }
}

absl::StatusOr<double> ToDouble(const Node& node) {
  constexpr std::string_view kRule = "must be a number";
  switch (node.kind) {
    case NodeKind::kInt:
      return static_cast<double>(node.int_value);
    case NodeKind::kBool:
      return node.bool_value ? 1.0 : 0.0;
    case NodeKind::kFloat:
      if (!std::isfinite(node.float_value)) return BrokenRule("must be a finite number");
      return node.float_value;
    case NodeKind::kString: {
      const std::optional<double> value = ParseDecimal(TrimBlanks(node.text));
      if (!value) return BrokenRule(kRule);
      return *value;
    }
    default:
      return BrokenRule(std::string(kRule) + ", not " + KindName(node.kind));
  }
}

absl::StatusOr<bool> ToBool(const Node& node) {
  const absl::Status broken = BrokenRule("must be `true` or `false`");
  switch (node.kind) {
    case NodeKind::kBool:
      return node.bool_value;
    case NodeKind::kInt:
      if (node.int_value != 0 && node.int_value != 1) return broken;
      return node.int_value == 1;
    case NodeKind::kFloat:
      if (node.float_value != 0.0 && node.float_value != 1.0) return broken;
      return node.float_value == 1.0;
    case NodeKind::kString: {
      const std::optional<bool> value = ParseLaxBool(node.text);
      if (!value) return broken;
      return *value;
    }
    default:
      return broken;
  }
}

std::string KindName(NodeKind kind) {
  switch (kind) {
    case NodeKind::kNull:
      return "null";
    case NodeKind::kBool:
      return "a boolean";
    case NodeKind::kInt:
    case NodeKind::kFloat:
      return "a number";
    case NodeKind::kDate:
      return "a date";
    case NodeKind::kString:
      return "a string";
    case NodeKind::kList:
      return "a list";
    case NodeKind::kMap:
      return "a mapping";
  }
  return "an unknown value";
}

}  // namespace dstack::config
