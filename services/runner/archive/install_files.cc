#include "services/runner/archive/install_files.h"

#include <optional>
#include <string_view>

#include "libs/base/macros.h"
#include "libs/base/status.h"
#include "services/runner/archive/unpack.h"
#include "services/runner/job/places.h"
#include "services/runner/job/working_dir.h"

namespace dstack::runner {
namespace {

// True when `inner` is `outer` or lies below it.
bool Contains(std::string_view outer, std::string_view inner) {
  if (outer == "/") return true;
  return inner.starts_with(outer) && (inner.size() == outer.size() || inner[outer.size()] == '/');
}

absl::Status InstallOne(const v1::FileMapping& file, const TaskDir& dir, const Places& places) {
  ASSIGN_OR_RETURN(const std::string destination,
                   ResolvePath(file.path(), places.working_dir, places.user.home));
  const std::size_t slash = destination.rfind('/');
  if (slash > 0) RETURN_IF_ERROR(MakeDirsFor(destination.substr(0, slash), places.user).status());
  const bool is_kept =
      Contains(destination, places.working_dir) || Contains(destination, places.user.home);
  if (!is_kept) RETURN_IF_ERROR(base::RemoveAll(destination));
  std::optional<Ownership> owner;
  if (places.can_switch) owner = Ownership{places.user.uid, places.user.gid};
  return Unpack(base::JoinPath(dir.Files(), file.digest()), destination, owner);
}

}  // namespace

absl::Status InstallFiles(const v1::JobSpec& job,
                          const TaskDir& dir,
                          const std::string& initial_dir,
                          const std::function<void(const std::string&)>& progress) {
  if (job.files().empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const ImageConfig image, LoadImageConfig(dir.ImageConfig()));
  ASSIGN_OR_RETURN(const Places places, ResolvePlaces(job, image, initial_dir));
  RETURN_IF_ERROR(MakeDirsFor(places.working_dir, places.user).status());
  for (const v1::FileMapping& file : job.files()) {
    RETURN_IF_ERROR(base::Annotate(InstallOne(file, dir, places), "files to {}", file.path()));
    progress(fmt::format("files unpacked to {}", file.path()));
  }
  return absl::OkStatus();
}

}  // namespace dstack::runner
