#include "services/shim/adapters/user_home.h"

#include <vector>

#include <absl/strings/str_split.h>

#include "libs/base/status.h"

namespace dstack::shim {
namespace {

constexpr std::size_t kUidField = 2;
constexpr std::size_t kHomeField = 5;

}  // namespace

std::string HomeOfUser(std::string_view passwd, uid_t uid, const std::string& fallback) {
  std::string home = fallback;
  const std::string number = std::to_string(uid);
  for (const absl::string_view line : absl::StrSplit(base::ToAbsl(passwd), '\n')) {
    const std::vector<std::string> fields = absl::StrSplit(line, ':');
    if (fields.size() <= kHomeField || fields[kUidField] != number) continue;
    home = fields[kHomeField];
    break;
  }
  return home.starts_with('/') ? home : "/";
}

}  // namespace dstack::shim
