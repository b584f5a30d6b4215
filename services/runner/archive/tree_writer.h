#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <sys/types.h>

#include "libs/base/file.h"
#include "services/runner/archive/unpack.h"

namespace dstack::runner {

// Makes files below one directory from paths that are not trusted: each component is opened by
// itself and no link is followed, whatever was there or was made before.
class TreeWriter {
 public:
  // The first component of each path is replaced by `name`, in the open directory `parent`; with an
  // empty name it is left out.
  TreeWriter(base::UniqueFd parent, std::string name, std::optional<Ownership> owner);

  absl::Status AddDirectory(std::string_view path, mode_t mode);
  // The file, open for writing and empty.
  absl::StatusOr<base::UniqueFd> AddFile(std::string_view path, mode_t mode);
  absl::Status AddSymlink(std::string_view path, const std::string& target);
  absl::Status AddHardlink(std::string_view path, std::string_view target);

 private:
  using Components = std::vector<std::string>;
  struct Place {
    base::UniqueFd directory;
    std::string name;
  };

  absl::StatusOr<Components> Split(std::string_view path) const;
  absl::StatusOr<base::UniqueFd> OpenDirectory(const Components& components);
  absl::StatusOr<base::UniqueFd> OpenOrMake(int parent, const std::string& name);
  absl::StatusOr<Place> Locate(std::string_view path);
  absl::Status Own(const Place& place, std::string_view path);

  const base::UniqueFd parent_;
  const std::string name_;
  const std::optional<Ownership> owner_;
};

// True when a relative link at `path` with this target stays below the path's first component.
bool LinkStaysInside(std::string_view path, std::string_view target);

}  // namespace dstack::runner
