#include "services/server/home.h"

#include <cerrno>
#include <utility>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "fmt/format.h"
#include "libs/base/random.h"
#include "libs/base/sha256.h"
#include "libs/base/status.h"
#include "services/server/usecases/identity_usecases.h"

namespace dstack::server {
namespace {

constexpr std::size_t kKeyBytes = 32;
constexpr mode_t kPrivateFile = 0600;
constexpr mode_t kPrivateDir = 0700;

absl::Status Damaged(const std::string& path, const std::string& rule) {
  return base::Error(
      absl::StatusCode::kFailedPrecondition, "INVALID_STATE", fmt::format("{}: {}", path, rule));
}

// Content without blanks at its ends.
absl::StatusOr<std::string> ReadLine(const std::string& path) {
  ASSIGN_OR_RETURN(std::string text, base::ReadFile(path, 4096));
  absl::StripAsciiWhitespace(&text);
  return text;
}

}  // namespace

absl::StatusOr<Home> Home::Open(const std::string& path) {
  RETURN_IF_ERROR(base::MakeDirs(path, kPrivateDir));
  const std::string lock_path = base::JoinPath(path, "server.lock");
  base::UniqueFd lock(open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, kPrivateFile));
  if (!lock) return base::ErrnoError(errno, lock_path);
  if (flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return base::ErrnoError(errno, lock_path);
    return base::Error(
        absl::StatusCode::kFailedPrecondition,
        "INVALID_STATE",
        fmt::format(
            "another dstack-server uses {}; stop it, or choose another directory with --home",
            path));
  }
  return Home(path, std::move(lock));
}

absl::StatusOr<base::Secret> Home::MasterKey(const base::Secret& given) const {
  if (!given.empty()) {
    std::string bytes;
    if (!absl::Base64Unescape(given.Reveal(), &bytes) || bytes.size() != kKeyBytes) {
      return base::Invalid(
          "DSTACK_SERVER_ENCRYPTION_KEY: must be 32 bytes in base64, as `openssl rand -base64 32` "
          "prints");
    }
    return base::Secret(std::move(bytes));
  }
  const std::string path = base::JoinPath(path_, "secret.key");
  auto text = ReadLine(path);
  if (absl::IsNotFound(text.status())) {
    std::string bytes = base::SecureRandomBytes(kKeyBytes);
    RETURN_IF_ERROR(base::WriteFileAtomic(path, base::HexEncode(bytes) + "\n", kPrivateFile));
    return base::Secret(std::move(bytes));
  }
  if (!text.ok()) return text.status();
  auto bytes = base::HexDecode(*text);
  if (!bytes.ok() || bytes->size() != kKeyBytes)
    return Damaged(path, "must hold 32 bytes in hexadecimal digits");
  return base::Secret(*std::move(bytes));
}

absl::StatusOr<Home::AdminToken> Home::GetAdminToken(const base::Secret& given) const {
  const std::string path = base::JoinPath(path_, "admin_token");
  auto stored = ReadLine(path);
  if (!stored.ok() && !absl::IsNotFound(stored.status())) return stored.status();
  if (given.empty() && stored.ok()) {
    if (stored->empty()) return Damaged(path, "is empty; give --token or remove the file");
    return AdminToken{base::Secret(*std::move(stored)), false};
  }
  AdminToken result{given.empty() ? NewToken() : given, given.empty()};
  if (!stored.ok() || *stored != result.token.Reveal()) {
    RETURN_IF_ERROR(base::WriteFileAtomic(path, result.token.Reveal() + "\n", kPrivateFile));
  }
  return result;
}

absl::StatusOr<std::string> Home::ReplaceReplicaId(const std::string& replica_id) const {
  const std::string path = base::JoinPath(path_, "replica_id");
  auto previous = ReadLine(path);
  if (!previous.ok() && !absl::IsNotFound(previous.status())) return previous.status();
  RETURN_IF_ERROR(base::WriteFileAtomic(path, replica_id + "\n", kPrivateFile));
  return previous.value_or("");
}

}  // namespace dstack::server
