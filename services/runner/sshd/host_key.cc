#include "services/runner/sshd/host_key.h"

#include <cstdint>

#include <absl/strings/escaping.h>
#include <absl/strings/str_split.h>
#include <fmt/format.h>

#include "libs/base/macros.h"
#include "libs/base/status.h"

namespace dstack::runner {
namespace {

constexpr std::string_view kMagic("openssh-key-v1\0", 15);

absl::Status NoKey() { return base::Invalid("no unencrypted private key in OpenSSH's form"); }

// The string type of RFC 4251; takes it off the front.
absl::StatusOr<std::string> TakeString(std::string_view* bytes) {
  if (bytes->size() < 4) return NoKey();
  std::uint32_t size = 0;
  for (std::size_t i = 0; i < 4; ++i) size = size << 8 | static_cast<unsigned char>((*bytes)[i]);
  if (bytes->size() - 4 < size) return NoKey();
  std::string taken(bytes->substr(4, size));
  bytes->remove_prefix(4 + size);
  return taken;
}

}  // namespace

absl::StatusOr<std::string> PublicHalf(std::string_view private_key) {
  std::string base64;
  for (absl::string_view line : absl::StrSplit(base::ToAbsl(private_key), '\n')) {
    if (line.empty() || line[0] != '-') base64.append(line.data(), line.size());
  }
  std::string file;
  if (!absl::Base64Unescape(base64, &file)) return NoKey();
  std::string_view rest = file;
  if (!rest.starts_with(kMagic)) return NoKey();
  rest.remove_prefix(kMagic.size());
  ASSIGN_OR_RETURN(const std::string cipher, TakeString(&rest));
  if (cipher != "none") return NoKey();
  ASSIGN_OR_RETURN(const std::string derivation, TakeString(&rest));
  ASSIGN_OR_RETURN(const std::string options, TakeString(&rest));
  if (rest.size() < 4) return NoKey();
  rest.remove_prefix(4);  // number of keys
  ASSIGN_OR_RETURN(const std::string blob, TakeString(&rest));
  std::string_view blob_rest = blob;
  ASSIGN_OR_RETURN(const std::string type, TakeString(&blob_rest));
  return fmt::format("{} {}", type, absl::Base64Escape(blob));
}

}  // namespace dstack::runner
