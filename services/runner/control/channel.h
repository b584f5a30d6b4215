#pragma once

#include <utility>

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <google/protobuf/message_lite.h>

#include "libs/base/file.h"

namespace dstack::runner {

// One end of the socket between supervise and serve: packets that hold one message each. Not
// thread-safe.
class Channel {
 public:
  // Takes a non-blocking SOCK_SEQPACKET socket.
  explicit Channel(base::UniqueFd socket) : socket_(std::move(socket)) {}
  // Both ends, close-on-exec.
  static absl::StatusOr<std::pair<base::UniqueFd, base::UniqueFd>> MakePair();

  // RESOURCE_EXHAUSTED: the other end does not read at the moment, nothing was sent; UNAVAILABLE:
  // it is gone.
  absl::Status Send(const google::protobuf::MessageLite& message);
  // Send, and waits for room where that is needed.
  absl::Status SendBlocking(const google::protobuf::MessageLite& message);
  // False when there is no packet at the moment. UNAVAILABLE: the other end is gone.
  absl::StatusOr<bool> Receive(google::protobuf::MessageLite* message);

  int fd() const { return socket_.get(); }

 private:
  base::UniqueFd socket_;
};

}  // namespace dstack::runner
