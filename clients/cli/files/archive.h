// Packs a file or a directory for the container.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <absl/status/statusor.h>

namespace dstack::cli {

struct Archive {
  // Uncompressed tar. Its first path component is the base name of the packed path.
  std::string bytes;
  // SHA-256, 64 hex digits.
  std::string digest;
  // Sockets, devices and the like, which are left out.
  std::vector<std::string> skipped;
};

// Equal content gives equal bytes: entries are sorted, owners and times are left out, of the modes
// only the executable bit stays. Symbolic links are kept as links, except the packed path itself.
// Files that
// `.gitignore` and `.dstackignore` of the packed directory name are left out. NOT_FOUND,
// RESOURCE_EXHAUSTED (TOO_LARGE) above `limit_bytes` (0: none but 1 GiB).
absl::StatusOr<Archive> PackPath(const std::string& path, uint64_t limit_bytes);

}  // namespace dstack::cli
