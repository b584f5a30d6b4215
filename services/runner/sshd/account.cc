#include "services/runner/sshd/account.h"

#include <absl/strings/numbers.h>
#include <absl/strings/str_join.h>
#include <absl/strings/str_split.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/base/macros.h"
#include "libs/base/status.h"

namespace dstack::runner {
namespace {

// Compiled into Debian's sshd.
constexpr char kChrootDir[] = "/run/sshd";
// Where every container has this program.
constexpr char kOwnProgram[] = "/usr/local/bin/dstack-runner";
constexpr std::string_view kSshdLine = "sshd:x:74:65534::/run/sshd:/sbin/nologin\n";

bool HasUser(std::string_view passwd, std::string_view user) {
  for (absl::string_view line : absl::StrSplit(base::ToAbsl(passwd), '\n')) {
    const std::string_view text = base::ToStd(line);
    if (text.starts_with(user) && text.substr(user.size()).starts_with(':')) return true;
  }
  return false;
}

bool HasUid(std::string_view passwd, uid_t uid) {
  for (absl::string_view line : absl::StrSplit(base::ToAbsl(passwd), '\n')) {
    const std::vector<absl::string_view> fields = absl::StrSplit(line, ':');
    uid_t found = 0;
    if (fields.size() > 2 && absl::SimpleAtoi(fields[2], &found) && found == uid) return true;
  }
  return false;
}

// Writes into the existing file: /etc/passwd may be a mount of its own, which cannot be replaced.
absl::Status Overwrite(const std::string& path, std::string_view content) {
  base::UniqueFd file(open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  if (!file) return base::ErrnoError(errno, fmt::format("cannot write {}", path));
  RETURN_IF_ERROR(base::WriteAll(file.get(), content));
  if (ftruncate(file.get(), static_cast<off_t>(content.size())) != 0) {
    return base::ErrnoError(errno, fmt::format("cannot write {}", path));
  }
  return absl::OkStatus();
}

}  // namespace

std::string WithSshdUser(std::string_view passwd) {
  if (HasUser(passwd, "sshd")) return "";
  std::string changed(passwd);
  if (!changed.empty() && changed.back() != '\n') changed += '\n';
  return changed.append(kSshdLine);
}

std::string WithUnlockedUser(std::string_view shadow, std::string_view user) {
  std::vector<std::string> lines = absl::StrSplit(base::ToAbsl(shadow), '\n');
  bool is_changed = false;
  for (std::string& line : lines) {
    std::vector<std::string> fields = absl::StrSplit(line, ':');
    if (fields.size() < 2 || fields[0] != user || !fields[1].starts_with('!')) continue;
    fields[1] = "*";
    line = absl::StrJoin(fields, ":");
    is_changed = true;
  }
  return is_changed ? absl::StrJoin(lines, "\n") : "";
}

std::string WithJobUser(std::string_view passwd, const JobUser& user, const std::string& shell) {
  if (HasUid(passwd, user.uid) || HasUser(passwd, user.name)) return "";
  std::string changed(passwd);
  if (!changed.empty() && changed.back() != '\n') changed += '\n';
  return changed +
         fmt::format("{}:x:{}:{}::{}:{}\n", user.name, user.uid, user.gid, user.home, shell);
}

namespace {

// passwd with all users that sshd needs; nothing when it has them.
std::string WithAllUsers(std::string_view passwd, const JobUser& user) {
  std::string content(passwd);
  if (std::string changed = WithJobUser(content, user, FindShell()); !changed.empty()) {
    content = std::move(changed);
  }
  // An image without users has nobody to log in as.
  if (!HasUser(content, "root")) {
    content.insert(0, fmt::format("root:x:0:0:root:/root:{}\n", FindShell()));
  }
  if (std::string changed = WithSshdUser(content); !changed.empty()) content = std::move(changed);
  return content == passwd ? "" : content;
}

}  // namespace

std::string FindShell() {
  for (const char* path : {"/bin/sh", "/bin/bash", "/bin/ash", "/busybox/sh", "/usr/bin/sh"}) {
    if (access(path, X_OK) == 0) return path;
  }
  return kOwnProgram;
}

absl::Status PrepareAccounts(const JobUser& user, const std::string& etc) {
  RETURN_IF_ERROR(base::MakeDirs(etc, 0755));  // an image without anything
  const std::string passwd = etc + "/passwd";
  const std::string shadow = etc + "/shadow";
  const std::string content = WithAllUsers(base::ReadFile(passwd).value_or(""), user);
  if (!content.empty()) RETURN_IF_ERROR(Overwrite(passwd, content));
  for (const std::string& name : {std::string("root"), user.name}) {
    const std::string changed = WithUnlockedUser(base::ReadFile(shadow).value_or(""), name);
    if (!changed.empty()) RETURN_IF_ERROR(Overwrite(shadow, changed));
  }
  return base::MakeDirs(kChrootDir, 0755);
}

absl::Status WriteOwnAccounts(const JobUser& user, const std::string& dir, const std::string& etc) {
  const std::string passwd = base::ReadFile(etc + "/passwd").value_or("");
  const std::string changed = WithAllUsers(passwd, user);
  RETURN_IF_ERROR(base::MakeDirs(dir + "/empty", 0755));
  return base::WriteFileAtomic(dir + "/passwd", changed.empty() ? passwd : changed, 0644);
}

bool HasSshdAccount(const std::string& etc) {
  return HasUser(base::ReadFile(etc + "/passwd").value_or(""), "sshd") && base::Exists(kChrootDir);
}

}  // namespace dstack::runner
