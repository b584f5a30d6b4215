#include "services/runner/state/visible_dir.h"

#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include <fmt/format.h>
#include <sys/stat.h>

#include "libs/base/file.h"
#include "libs/base/macros.h"
#include "libs/base/status.h"

namespace dstack::runner {

absl::StatusOr<std::string> MakeVisibleDir(const std::string& preferred,
                                           const std::string& last_resort) {
  const absl::Status made = base::MakeDirs(preferred, 0755);
  if (made.ok()) return preferred;
  const std::string name = std::filesystem::path(preferred).filename();
  for (const char* parent : {"/dev/shm", "/tmp", "/run"}) {
    std::string path = fmt::format("{}/dstack-{}-XXXXXX", parent, name);
    if (mkdtemp(path.data()) == nullptr) continue;
    if (chmod(path.c_str(), 0755) != 0) return base::ErrnoError(errno, path);
    return path;
  }
  return base::MakeDirs(last_resort, 0755).ok() ? absl::StatusOr<std::string>(last_resort) : made;
}

}  // namespace dstack::runner
