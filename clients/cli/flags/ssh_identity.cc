#include "clients/cli/flags/ssh_identity.h"

#include <cstddef>

#include <fmt/format.h>

#include "libs/base/file.h"
#include "libs/base/status.h"

namespace dstack::cli {
namespace {

constexpr std::size_t kMaxKeyBytes = 16 << 10;

bool IsPublicKey(const std::string& line) {
  if (line.find('\n') != std::string::npos || line.find(' ') == std::string::npos) return false;
  for (const char* prefix : {"ssh-", "ecdsa-", "sk-"}) {
    if (line.rfind(prefix, 0) == 0) return true;
  }
  return false;
}

}  // namespace

absl::StatusOr<std::string> ReadPublicKey(const Environment& environment,
                                          const std::string& private_key_file) {
  const std::string path = private_key_file + ".pub";
  const auto text =
      base::ReadFile(environment.ResolvePath(path, environment.working_directory), kMaxKeyBytes);
  if (absl::IsNotFound(text.status())) {
    return base::InvalidField(
        "--ssh-identity",
        fmt::format(
            "there is no {0}; `ssh-keygen -y -f {1} > {0}` makes it", path, private_key_file));
  }
  if (!text.ok()) return base::InvalidField("--ssh-identity", base::Message(text.status()));
  std::string line = *text;
  while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.pop_back();
  if (IsPublicKey(line)) return line;
  return base::InvalidField("--ssh-identity", fmt::format("{} is no public key", path));
}

}  // namespace dstack::cli
