#include "services/runner/control/channel.h"

#include <cerrno>
#include <string>

#include <poll.h>
#include <sys/socket.h>

#include "libs/base/status.h"

namespace dstack::runner {
namespace {

constexpr std::size_t kMaxPacketBytes = 64 * 1024;

}  // namespace

absl::StatusOr<std::pair<base::UniqueFd, base::UniqueFd>> Channel::MakePair() {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) {
    return base::ErrnoError(errno, "socketpair");
  }
  return std::pair(base::UniqueFd(ends[0]), base::UniqueFd(ends[1]));
}

absl::Status Channel::Send(const google::protobuf::MessageLite& message) {
  const std::string bytes = message.SerializeAsString();
  if (bytes.empty() || bytes.size() > kMaxPacketBytes) {
    // An empty packet would read as the end of the connection.
    return base::Internal(fmt::format("a control message has {} bytes", bytes.size()));
  }
  while (send(fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL) < 0) {
    if (errno == EINTR) continue;
    if (errno == EAGAIN) return absl::ResourceExhaustedError("the other end does not read");
    return absl::UnavailableError("the other end is gone");
  }
  return absl::OkStatus();
}

absl::Status Channel::SendBlocking(const google::protobuf::MessageLite& message) {
  while (true) {
    absl::Status status = Send(message);
    if (status.code() != absl::StatusCode::kResourceExhausted) return status;
    pollfd wait{.fd = fd(), .events = POLLOUT, .revents = 0};
    poll(&wait, 1, -1);
  }
}

absl::StatusOr<bool> Channel::Receive(google::protobuf::MessageLite* message) {
  std::string bytes(kMaxPacketBytes, '\0');
  while (true) {
    const ssize_t got = recv(fd(), bytes.data(), bytes.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return false;
    if (got <= 0) return absl::UnavailableError("the other end is gone");
    if (!message->ParseFromArray(bytes.data(), static_cast<int>(got))) {
      return base::Internal("a control message cannot be read");
    }
    return true;
  }
}

}  // namespace dstack::runner
