#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/base/ids.h"

namespace dstack::server {

// Uploaded archives by SHA-256, per user. Thread-safe, blocking.
class FileStore {
 public:
  virtual ~FileStore() = default;
  virtual absl::StatusOr<std::vector<std::string>> FindMissing(
      const UserId& user, const std::vector<std::string>& digests) = 0;
  // INVALID_ARGUMENT/DIGEST_MISMATCH.
  virtual absl::Status Put(const UserId& user,
                           const std::string& digest,
                           const std::string& content) = 0;
  // NOT_FOUND/FILE_NOT_FOUND.
  virtual absl::StatusOr<std::string> Get(const UserId& user, const std::string& digest) = 0;
};

}  // namespace dstack::server
