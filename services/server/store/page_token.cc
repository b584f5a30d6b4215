#include "services/server/store/page_token.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "libs/base/status.h"

namespace dstack::server {
namespace {

// Not part of any key: ids, names, numbers and times.
constexpr char kSeparator = '\n';
constexpr char kVersion[] = "1";

}  // namespace

std::string EncodePageToken(const std::vector<std::string>& key) {
  std::string plain = kVersion;
  for (const std::string& part : key) plain += kSeparator + part;
  return absl::WebSafeBase64Escape(plain);
}

absl::StatusOr<std::vector<std::string>> DecodePageToken(const std::string& token,
                                                         std::size_t parts) {
  std::string plain;
  std::vector<std::string> key;
  if (absl::WebSafeBase64Unescape(token, &plain)) key = absl::StrSplit(plain, kSeparator);
  if (key.size() != parts + 1 || key.front() != kVersion) {
    return base::Error(absl::StatusCode::kInvalidArgument,
                       "INVALID_PAGE_TOKEN",
                       "page_token is not one that this list has given");
  }
  key.erase(key.begin());
  return key;
}

}  // namespace dstack::server
