#pragma once

#include <cstddef>
#include <string>

#include <absl/status/statusor.h>
#include <sys/types.h>

#include "libs/base/file.h"

namespace dstack::net {

// sockaddr_un holds this much, the end mark included.
inline constexpr std::size_t kMaxUnixPathBytes = 108;

// Listens on a Unix socket with the given mode. A socket file that nobody listens on is replaced;
// ALREADY_EXISTS when somebody does, or when the path is something else. INVALID_ARGUMENT for a
// path that is too long. Close-on-exec.
absl::StatusOr<base::UniqueFd> ListenUnix(const std::string& path,
                                          mode_t mode = 0600,
                                          int backlog = 64);

// A blocking, close-on-exec connection. NOT_FOUND without the file, UNAVAILABLE without a listener.
absl::StatusOr<base::UniqueFd> ConnectUnix(const std::string& path);

// Next connection of a listener, blocking, close-on-exec.
absl::StatusOr<base::UniqueFd> Accept(int listener);

// Who is at the other end of a Unix connection, as the kernel recorded it at connect time.
struct PeerCredentials {
  pid_t pid;
  uid_t uid;
  gid_t gid;
};
absl::StatusOr<PeerCredentials> GetPeerCredentials(int fd);

}  // namespace dstack::net
