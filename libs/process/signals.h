#pragma once

#include <initializer_list>
#include <optional>
#include <utility>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "libs/base/clock.h"
#include "libs/base/file.h"

namespace dstack::process {

// A write to a closed pipe or socket becomes an error instead of our end. Idempotent.
void IgnoreSigpipe();

// Blocks signals for the calling thread and every thread it starts later, so that one place can
// wait for them. Call it first in main(). Children started through Subprocess begin with none
// blocked.
class SignalWaiter {
 public:
  // Typically {SIGTERM, SIGINT}. SIGPIPE is ignored as well.
  static absl::StatusOr<SignalWaiter> Create(std::initializer_list<int> signals);

  // The next signal, or nothing at the deadline.
  std::optional<int> WaitUntil(base::MonotonicTime deadline = base::kNoDeadline);

  // Readable when a signal waits, for poll(2) loops; then call TryTake().
  int fd() const { return fd_.get(); }
  std::optional<int> TryTake();

 private:
  explicit SignalWaiter(base::UniqueFd fd) : fd_(std::move(fd)) {}
  base::UniqueFd fd_;
};

}  // namespace dstack::process
