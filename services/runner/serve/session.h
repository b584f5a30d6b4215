#pragma once

#include <cstddef>

#include <absl/status/status.h>

#include "dstack/runner/v1/runner_service.pb.h"

namespace dstack::runner {

// One session as the serving core sees it: where its answers go. Called on the loop's thread only.
class Session {
 public:
  virtual ~Session() = default;
  // Queues a message. Dropped when the session is over.
  virtual void Send(v1::SessionResponse response) = 0;
  // Bytes of messages that are queued and not yet on the wire.
  virtual std::size_t queued_bytes() const = 0;
  // The request was dealt with: the next one may be read.
  virtual void ReadNext() = 0;
  // Ends the session; what is queued is dropped unless the status is OK.
  virtual void Finish(const absl::Status& status) = 0;
};

}  // namespace dstack::runner
