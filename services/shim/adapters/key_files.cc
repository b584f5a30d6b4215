#include "services/shim/adapters/key_files.h"

#include <cerrno>
#include <charconv>

#include <absl/strings/str_split.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/base/macros.h"
#include "libs/base/status.h"

namespace dstack::shim {
namespace {

constexpr char kSshDir[] = ".ssh";
constexpr char kFile[] = "authorized_keys";
constexpr char kBackup[] = "authorized_keys.bak";
constexpr char kTemporary[] = ".authorized_keys.dstack";
constexpr std::size_t kMaxFileBytes = std::size_t{4} << 20;
// Somebody else may write the file between our look and our rename.
constexpr int kMaxRaces = 10;

template <typename Number>
bool ParseNumber(const std::string& text, Number* number) {
  const auto result = std::from_chars(text.data(), text.data() + text.size(), *number);
  return result.ec == std::errc() && result.ptr == text.data() + text.size();
}

struct Content {
  bool exists = false;
  std::string text;
  struct stat info {};
};

bool IsSame(const Content& a, const Content& b) {
  return a.exists == b.exists && a.info.st_ino == b.info.st_ino && a.text == b.text;
}

absl::Status CheckOwner(const struct stat& info,
                        const HostAccount& account,
                        const std::string& path) {
  if (info.st_uid == account.uid || info.st_uid == 0) return absl::OkStatus();
  return absl::PermissionDeniedError(
      fmt::format("{} belongs neither to {} nor to root", path, account.name));
}

// Of the directory .ssh, whose files are then reached by this descriptor alone.
absl::StatusOr<base::UniqueFd> OpenSshDir(const HostAccount& account, bool may_make) {
  const std::string path = fmt::format("{}/{}", account.home, kSshDir);
  if (may_make && ::mkdir(path.c_str(), 0700) == 0 && ::geteuid() == 0 &&
      ::lchown(path.c_str(), account.uid, account.gid) != 0) {
    return base::ErrnoError(errno, "chown " + path);
  }
  base::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) return base::ErrnoError(errno, path);
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return base::ErrnoError(errno, path);
  RETURN_IF_ERROR(CheckOwner(info, account, path));
  return fd;
}

absl::StatusOr<Content> ReadKeys(int directory, const HostAccount& account) {
  Content content;
  const std::string path = AuthorizedKeysPath(account);
  const base::UniqueFd fd(
      ::openat(directory, kFile, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!fd && errno == ENOENT) return content;
  if (!fd) return base::ErrnoError(errno, path);
  if (::fstat(fd.get(), &content.info) != 0) return base::ErrnoError(errno, path);
  RETURN_IF_ERROR(CheckOwner(content.info, account, path));
  if (!S_ISREG(content.info.st_mode)) {
    return absl::FailedPreconditionError(path + " is not a plain file");
  }
  content.exists = true;
  std::string buffer(64 << 10, '\0');
  while (true) {
    ASSIGN_OR_RETURN(const std::size_t count,
                     base::ReadSome(fd.get(), buffer.data(), buffer.size()));
    if (count == 0) return content;
    content.text.append(buffer, 0, count);
    if (content.text.size() > kMaxFileBytes) {
      return absl::ResourceExhaustedError(path + " is larger than any list of keys");
    }
  }
}

absl::Status ReplaceFile(int directory,
                         const char* name,
                         std::string_view text,
                         const HostAccount& account,
                         const Content& before) {
  ::unlinkat(directory, kTemporary, 0);
  const base::UniqueFd fd(
      ::openat(directory, kTemporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd) return base::ErrnoError(errno, AuthorizedKeysPath(account));
  const uid_t uid = before.exists ? before.info.st_uid : account.uid;
  const gid_t gid = before.exists ? before.info.st_gid : account.gid;
  const mode_t mode = before.exists ? before.info.st_mode & 07777U : 0600;
  absl::Status status =
      base::Annotate(base::WriteAll(fd.get(), text), "{}", AuthorizedKeysPath(account));
  // The owner first: it would clear bits of the mode.
  if (status.ok() && ::geteuid() == 0 && ::fchown(fd.get(), uid, gid) != 0) {
    status = base::ErrnoError(errno, "chown of the keys");
  }
  if (status.ok() && (::fchmod(fd.get(), mode) != 0 || ::fsync(fd.get()) != 0)) {
    status = base::ErrnoError(errno, "the keys");
  }
  if (status.ok() && ::renameat(directory, kTemporary, directory, name) != 0) {
    status = base::ErrnoError(errno, "rename of the keys");
  }
  if (!status.ok()) {
    ::unlinkat(directory, kTemporary, 0);
    return status;
  }
  ::fsync(directory);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<HostAccount> FindAccount(std::string_view passwd, const std::string& name) {
  for (const absl::string_view line : absl::StrSplit(base::ToAbsl(passwd), '\n')) {
    const std::vector<std::string> fields = absl::StrSplit(line, ':');
    if (fields.size() < 7 || fields[0] != name) continue;
    HostAccount account{.name = name, .home = fields[5]};
    const bool is_good = ParseNumber(fields[2], &account.uid) &&
                         ParseNumber(fields[3], &account.gid) && account.home.starts_with('/');
    if (is_good) return account;
  }
  return absl::NotFoundError(fmt::format("this host has no account \"{}\"", name));
}

std::string AuthorizedKeysPath(const HostAccount& account) {
  return fmt::format("{}/{}/{}", account.home, kSshDir, kFile);
}

absl::Status WriteJumpKeys(const HostAccount& account,
                           const std::vector<JumpKey>& keys,
                           std::string_view owner) {
  const auto directory = OpenSshDir(account, !keys.empty());
  if (absl::IsNotFound(directory.status()) && keys.empty()) return absl::OkStatus();
  RETURN_IF_ERROR(directory.status());
  for (int i = 0; i < kMaxRaces; ++i) {
    ASSIGN_OR_RETURN(const Content before, ReadKeys(directory->get(), account));
    const std::string text = WithJumpKeys(before.text, keys, owner);
    if (text == before.text) return absl::OkStatus();
    if (before.exists) {
      RETURN_IF_ERROR(ReplaceFile(directory->get(), kBackup, before.text, account, before));
    }
    ASSIGN_OR_RETURN(const Content now, ReadKeys(directory->get(), account));
    if (!IsSame(before, now)) continue;
    return ReplaceFile(directory->get(), kFile, text, account, before);
  }
  return absl::AbortedError(AuthorizedKeysPath(account) + " changes all the time");
}

}  // namespace dstack::shim
