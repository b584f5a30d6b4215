#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "libs/base/file.h"
#include "libs/base/secret.h"

namespace dstack::server {

// The server's directory: mode 0700, one server at a time, and the secrets that exist only there.
// Files are written once and never shown: `secret.key` (32 bytes in hexadecimal digits) and
// `admin_token`, both 0600.
class Home {
 public:
  // FAILED_PRECONDITION when another server uses the directory.
  static absl::StatusOr<Home> Open(const std::string& path);

  const std::string& path() const { return path_; }

  // 32 raw bytes. `given` (base64) wins and is not stored; otherwise the file's, made on the first
  // call.
  absl::StatusOr<base::Secret> MasterKey(const base::Secret& given) const;

  struct AdminToken {
    base::Secret token;
    bool is_new = false;  // made just now
  };
  // `given` wins and replaces the file; otherwise the file's, made on the first call.
  absl::StatusOr<AdminToken> GetAdminToken(const base::Secret& given) const;

  // Writes down the id of this process's replica and returns that of the process before it, which
  // is dead: the directory is ours. Empty on the first start.
  absl::StatusOr<std::string> ReplaceReplicaId(const std::string& replica_id) const;

 private:
  Home(std::string path, base::UniqueFd lock) : path_(std::move(path)), lock_(std::move(lock)) {}

  std::string path_;
  base::UniqueFd lock_;
};

}  // namespace dstack::server
