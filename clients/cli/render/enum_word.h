#pragma once

#include <string>
#include <string_view>

#include <absl/strings/ascii.h>

namespace dstack::cli {

// Name of an enum value without the prefix of its type, in lower case: "RUN_STATUS_DONE" is "done".
// Empty names (values newer than this program) are "unknown".
inline std::string EnumWord(const std::string& name, std::string_view prefix) {
  if (name.size() <= prefix.size()) return "unknown";
  std::string word = name.substr(prefix.size());
  absl::AsciiStrToLower(&word);
  return word;
}

}  // namespace dstack::cli
