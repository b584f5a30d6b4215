#include "services/runner/archive/tree_writer.h"

#include <cerrno>
#include <utility>

#include <absl/strings/str_split.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libs/base/macros.h"
#include "libs/base/status.h"

namespace dstack::runner {
namespace {

constexpr mode_t kPermissions = 0777;
constexpr mode_t kOwnerAll = 0700;

absl::Status Refuse(std::string_view path, std::string_view rule) {
  return base::Invalid(fmt::format("archive entry {:?}: {}", path, rule));
}

absl::Status Failed(std::string_view path) {
  return base::ErrnoError(errno, fmt::format("archive entry {:?}", path));
}

std::vector<std::string> Pieces(std::string_view path) {
  std::vector<std::string> pieces;
  for (absl::string_view piece : absl::StrSplit(base::ToAbsl(path), '/')) {
    if (!piece.empty() && piece != ".") pieces.emplace_back(piece);
  }
  return pieces;
}

}  // namespace

bool LinkStaysInside(std::string_view path, std::string_view target) {
  if (target.empty() || target.front() == '/') return false;
  // Directories between the first component and the link, that component included.
  auto depth = static_cast<std::ptrdiff_t>(Pieces(path).size()) - 1;
  if (depth < 1) return false;  // the top itself: everything else is outside
  for (const std::string& piece : Pieces(target)) {
    depth += piece == ".." ? -1 : 1;
    if (depth < 1) return false;
  }
  return true;
}

TreeWriter::TreeWriter(base::UniqueFd parent, std::string name, std::optional<Ownership> owner)
    : parent_(std::move(parent)), name_(std::move(name)), owner_(owner) {}

absl::StatusOr<TreeWriter::Components> TreeWriter::Split(std::string_view path) const {
  if (path.starts_with('/')) return Refuse(path, "the path must be relative");
  Components components = Pieces(path);
  if (components.empty()) return Refuse(path, "the path is empty");
  for (const std::string& component : components) {
    if (component == "..") return Refuse(path, "\"..\" is not allowed");
  }
  if (name_.empty()) {
    components.erase(components.begin());
  } else {
    components.front() = name_;
  }
  return components;
}

absl::StatusOr<base::UniqueFd> TreeWriter::OpenOrMake(int parent, const std::string& name) {
  constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  base::UniqueFd directory(openat(parent, name.c_str(), kFlags));
  if (directory) return directory;
  if (errno != ENOENT) {
    return Refuse(name, "a link or a file is where a directory should be");
  }
  if (mkdirat(parent, name.c_str(), 0755) != 0) return Failed(name);
  directory.reset(openat(parent, name.c_str(), kFlags));
  if (!directory) return Failed(name);
  if (owner_ && fchown(directory.get(), owner_->uid, owner_->gid) != 0) return Failed(name);
  return directory;
}

absl::StatusOr<base::UniqueFd> TreeWriter::OpenDirectory(const Components& components) {
  base::UniqueFd directory(fcntl(parent_.get(), F_DUPFD_CLOEXEC, 0));
  for (const std::string& component : components) {
    ASSIGN_OR_RETURN(directory, OpenOrMake(directory.get(), component));
  }
  return directory;
}

// Directory and name of a path that is no directory itself; what was there is removed.
absl::StatusOr<TreeWriter::Place> TreeWriter::Locate(std::string_view path) {
  ASSIGN_OR_RETURN(Components components, Split(path));
  if (components.empty()) return Refuse(path, "only a directory can be unpacked here");
  Place place;
  place.name = std::move(components.back());
  components.pop_back();
  ASSIGN_OR_RETURN(place.directory, OpenDirectory(components));
  if (unlinkat(place.directory.get(), place.name.c_str(), 0) != 0 && errno != ENOENT) {
    return Failed(path);
  }
  return place;
}

absl::Status TreeWriter::Own(const Place& place, std::string_view path) {
  if (owner_ && fchownat(place.directory.get(),
                         place.name.c_str(),
                         owner_->uid,
                         owner_->gid,
                         AT_SYMLINK_NOFOLLOW) != 0) {
    return Failed(path);
  }
  return absl::OkStatus();
}

absl::Status TreeWriter::AddDirectory(std::string_view path, mode_t mode) {
  ASSIGN_OR_RETURN(const Components components, Split(path));
  ASSIGN_OR_RETURN(const base::UniqueFd directory, OpenDirectory(components));
  // The directory at the top of an existing tree keeps its mode.
  if (components.empty()) return absl::OkStatus();
  // Without the owner's bits the entries below could not be made.
  if (fchmod(directory.get(), (mode & kPermissions) | kOwnerAll) != 0) return Failed(path);
  return absl::OkStatus();
}

absl::StatusOr<base::UniqueFd> TreeWriter::AddFile(std::string_view path, mode_t mode) {
  ASSIGN_OR_RETURN(const Place place, Locate(path));
  base::UniqueFd file(openat(place.directory.get(),
                             place.name.c_str(),
                             O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                             0600));
  if (!file) return Failed(path);
  if (owner_ && fchown(file.get(), owner_->uid, owner_->gid) != 0) return Failed(path);
  if (fchmod(file.get(), mode & kPermissions) != 0) return Failed(path);
  return file;
}

absl::Status TreeWriter::AddSymlink(std::string_view path, const std::string& target) {
  if (!LinkStaysInside(path, target)) {
    return Refuse(path, fmt::format("the link to {:?} leads out of the archive", target));
  }
  ASSIGN_OR_RETURN(const Place place, Locate(path));
  if (symlinkat(target.c_str(), place.directory.get(), place.name.c_str()) != 0) {
    return Failed(path);
  }
  return Own(place, path);
}

absl::Status TreeWriter::AddHardlink(std::string_view path, std::string_view target) {
  ASSIGN_OR_RETURN(Components from, Split(target));
  if (from.empty() || from == Pieces(path)) return Refuse(path, "the link names itself");
  const std::string from_name = std::move(from.back());
  from.pop_back();
  ASSIGN_OR_RETURN(const base::UniqueFd from_directory, OpenDirectory(from));
  ASSIGN_OR_RETURN(const Place place, Locate(path));
  if (linkat(
          from_directory.get(), from_name.c_str(), place.directory.get(), place.name.c_str(), 0) !=
      0) {
    return Failed(path);
  }
  return absl::OkStatus();
}

}  // namespace dstack::runner
