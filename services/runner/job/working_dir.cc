#include "services/runner/job/working_dir.h"

#include <cerrno>
#include <filesystem>

#include <sys/stat.h>
#include <unistd.h>

#include "libs/base/macros.h"
#include "libs/base/status.h"

namespace dstack::runner {

absl::StatusOr<std::string> ResolvePath(std::string_view path,
                                        std::string_view base,
                                        std::string_view home) {
  std::filesystem::path joined(base);
  if (path.starts_with('~')) {
    if (path.size() > 1 && path[1] != '/') {
      return base::Invalid(fmt::format("path {:?}: homes of other users are not looked up", path));
    }
    joined = std::filesystem::path(home);
    path.remove_prefix(path.size() > 1 ? 2 : 1);
    while (path.starts_with('/')) path.remove_prefix(1);
  }
  joined /= std::filesystem::path(path);
  std::string text = joined.lexically_normal().string();
  while (text.size() > 1 && text.back() == '/') text.pop_back();
  return text;
}

absl::StatusOr<bool> MakeDirsFor(const std::string& path, const JobUser& user) {
  struct stat info {};
  if (stat(path.c_str(), &info) == 0) {
    if (S_ISDIR(info.st_mode)) return false;
    return base::Error(absl::StatusCode::kFailedPrecondition,
                       "INVALID_STATE",
                       fmt::format("{} is not a directory", path));
  }
  const std::size_t slash = path.rfind('/');
  if (slash != std::string::npos && slash > 0) {
    RETURN_IF_ERROR(MakeDirsFor(path.substr(0, slash), user).status());
  }
  if (mkdir(path.c_str(), 0755) != 0) {
    return base::ErrnoError(errno, fmt::format("cannot create directory {}", path));
  }
  // mkdir obeys the umask. A runner without privileges makes directories of its own user.
  chmod(path.c_str(), 0755);
  if (geteuid() == 0 && lchown(path.c_str(), user.uid, user.gid) != 0) {
    return base::ErrnoError(errno, fmt::format("cannot give {} to {}", path, user.name));
  }
  return true;
}

}  // namespace dstack::runner
