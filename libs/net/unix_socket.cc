#include "libs/net/unix_socket.h"

#include <cerrno>
#include <cstring>

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "libs/base/status.h"

namespace dstack::net {
namespace {

absl::StatusOr<sockaddr_un> AddressOf(const std::string& path) {
  if (path.empty() || path.size() >= kMaxUnixPathBytes || path.find('\0') != std::string::npos) {
    return base::Invalid(fmt::format(
        "socket path '{}' must have 1 to {} bytes and no NUL", path, kMaxUnixPathBytes - 1));
  }
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

absl::StatusOr<base::UniqueFd> NewSocket() {
  base::UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return base::ErrnoError(errno, "making a socket");
  return fd;
}

// Removes a socket file that a dead process left.
absl::Status RemoveStale(const std::string& path) {
  struct stat info {};
  if (lstat(path.c_str(), &info) != 0) return absl::OkStatus();
  if (!S_ISSOCK(info.st_mode)) {
    return absl::AlreadyExistsError(base::ToAbsl(path + " exists and is not a socket"));
  }
  const auto connection = ConnectUnix(path);
  if (connection.ok()) {
    return absl::AlreadyExistsError(base::ToAbsl("another process listens on " + path));
  }
  if (unlink(path.c_str()) != 0 && errno != ENOENT) {
    return base::ErrnoError(errno, "removing the old socket " + path);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<base::UniqueFd> ListenUnix(const std::string& path, mode_t mode, int backlog) {
  ASSIGN_OR_RETURN(const sockaddr_un address, AddressOf(path));
  RETURN_IF_ERROR(RemoveStale(path));
  ASSIGN_OR_RETURN(base::UniqueFd fd, NewSocket());
  // Before bind the file has no name; the mode of the socket's inode becomes that of the file
  // (masked by umask), so that there is no moment with a wider one.
  fchmod(fd.get(), mode);
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return base::ErrnoError(errno, "binding " + path);
  }
  // Again by name, past the umask. Nobody can connect before listen().
  if (chmod(path.c_str(), mode) != 0) return base::ErrnoError(errno, "setting the mode of " + path);
  if (listen(fd.get(), backlog) != 0) return base::ErrnoError(errno, "listening on " + path);
  return fd;
}

absl::StatusOr<base::UniqueFd> ConnectUnix(const std::string& path) {
  ASSIGN_OR_RETURN(const sockaddr_un address, AddressOf(path));
  ASSIGN_OR_RETURN(base::UniqueFd fd, NewSocket());
  while (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    if (errno == EINTR) continue;
    if (errno == ECONNREFUSED) return base::Unavailable("nobody listens on " + path);
    return base::ErrnoError(errno, "connecting to " + path);
  }
  return fd;
}

absl::StatusOr<base::UniqueFd> Accept(int listener) {
  while (true) {
    base::UniqueFd fd(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
    if (fd) return fd;
    if (errno != EINTR && errno != ECONNABORTED) return base::ErrnoError(errno, "accepting");
  }
}

absl::StatusOr<PeerCredentials> GetPeerCredentials(int fd) {
  ucred credentials{};
  socklen_t size = sizeof(credentials);
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) {
    return base::ErrnoError(errno, "reading peer credentials");
  }
  return PeerCredentials{credentials.pid, credentials.uid, credentials.gid};
}

}  // namespace dstack::net
