#include "libs/config/names.h"

#include <algorithm>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "libs/config/text.h"

namespace dstack::config {

namespace {

bool IsLowerNameChar(char c) { return (c >= 'a' && c <= 'z') || IsAsciiDigit(c) || c == '-'; }
bool IsWordChar(char c) { return IsAsciiAlnum(c) || c == '-' || c == '_'; }

template <typename Predicate>
bool AllOf(std::string_view text, Predicate predicate) {
  return std::all_of(text.begin(), text.end(), predicate);
}

absl::Status CheckWord(std::string_view text, size_t max_length) {
  if (!text.empty() && text.size() <= max_length && AllOf(text, IsWordChar)) {
    return absl::OkStatus();
  }
  return BrokenRule(fmt::format("must have 1 to {} letters, digits, `-` or `_`", max_length));
}

}  // namespace

absl::Status CheckResourceName(std::string_view name) {
  const bool is_valid = name.size() >= 2 && name.size() <= 41 && name.front() >= 'a' &&
                        name.front() <= 'z' && AllOf(name, IsLowerNameChar);
  if (is_valid) return absl::OkStatus();
  return BrokenRule(
      "must begin with a lower-case letter, followed by 1 to 40 of `a-z`, `0-9` and `-`");
}

absl::Status CheckGroupName(std::string_view name) {
  const bool is_valid =
      !name.empty() && name.size() <= 40 && name.front() != '-' && AllOf(name, IsLowerNameChar);
  if (is_valid) return absl::OkStatus();
  return BrokenRule("must have 1 to 40 of `a-z`, `0-9` and `-`, and not begin with `-`");
}

absl::Status CheckProjectName(std::string_view name) { return CheckWord(name, 50); }
absl::Status CheckUserName(std::string_view name) { return CheckWord(name, 60); }
absl::Status CheckSecretName(std::string_view name) { return CheckWord(name, 200); }
absl::Status CheckTagKey(std::string_view key) { return CheckWord(key, 60); }

absl::Status CheckEnvName(std::string_view name) {
  const bool is_valid = !name.empty() && !IsAsciiDigit(name.front()) &&
                        AllOf(name, [](char c) { return IsAsciiAlnum(c) || c == '_'; });
  if (is_valid) return absl::OkStatus();
  return BrokenRule(
      "must be named by letters, digits and `_`, not beginning with a digit: `NAME` or "
      "`NAME=value`");
}

absl::Status CheckTagValue(std::string_view value) {
  constexpr std::string_view kMarks = " .:/=_-+@";
  const bool is_valid = value.size() <= 256 && AllOf(value, [&](char c) {
                          return IsAsciiAlnum(c) || kMarks.find(c) != std::string_view::npos;
                        });
  if (is_valid) return absl::OkStatus();
  return BrokenRule("must have at most 256 letters, digits, spaces and `. : / = _ - + @`");
}

absl::Status CheckContainerUser(std::string_view user) {
  const std::vector<std::string> parts = SplitOn(user, ':');
  const bool has_empty =
      std::any_of(parts.begin(), parts.end(), [](const std::string& part) { return part.empty(); });
  if (parts.size() > 2 || has_empty) return BrokenRule("must be `USER` or `USER:GROUP`");
  const bool is_plain = AllOf(user, [](char c) {
    return IsAsciiAlnum(c) || c == ':' || c == '_' || c == '.' || c == '-' || c == '@' || c == '$';
  });
  if (!is_plain || user.front() == '-') {
    return BrokenRule("must be named by letters, digits and `_ . - @ $`, not beginning with `-`");
  }
  return absl::OkStatus();
}

absl::Status CheckShell(std::string_view shell) {
  if (shell == "sh" || shell == "bash") return absl::OkStatus();
  const bool is_path = shell.starts_with("/") && CheckPlainText(shell, 4096).ok();
  if (is_path) return absl::OkStatus();
  return BrokenRule("must be `sh`, `bash` or an absolute path");
}

absl::Status CheckPlainText(std::string_view text, size_t max_bytes) {
  if (text.size() > max_bytes) {
    return BrokenRule(fmt::format("must have at most {} bytes", max_bytes));
  }
  if (!IsValidUtf8(text)) return BrokenRule("must be valid UTF-8");
  const bool has_control =
      !AllOf(text, [](char c) { return static_cast<unsigned char>(c) >= 0x20 && c != 0x7F; });
  if (has_control) return BrokenRule("must not have line ends or other control characters");
  return absl::OkStatus();
}

absl::StatusOr<v1::EntityReference> ParseEntityReference(std::string_view text) {
  const std::vector<std::string> parts = SplitOn(text, '/');
  const bool has_empty =
      std::any_of(parts.begin(), parts.end(), [](const std::string& part) { return part.empty(); });
  if (parts.size() > 2 || has_empty) return BrokenRule("must be `NAME` or `PROJECT/NAME`");
  v1::EntityReference reference;
  if (parts.size() == 2) reference.set_project(parts.front());
  reference.set_name(parts.back());
  return reference;
}

std::string FormatEntityReference(const v1::EntityReference& reference) {
  if (!reference.has_project()) return reference.name();
  return fmt::format("{}/{}", reference.project(), reference.name());
}

}  // namespace dstack::config
