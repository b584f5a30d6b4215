#pragma once

#include <chrono>
#include <cstddef>

#include "absl/status/statusor.h"
#include "services/server/domain/run/run.h"

namespace dstack::server {

// How long things are kept that nobody needs for the work itself. Zero: for ever.
struct Retention {
  std::chrono::seconds usage_running = std::chrono::hours(1);
  // The last usage_running of jobs that have ended.
  std::chrono::seconds usage_finished = std::chrono::hours(24 * 7);
  std::chrono::seconds events = std::chrono::hours(24 * 30);
  // Since the end of the job.
  std::chrono::seconds logs = std::chrono::hours(24 * 30);
  // Runs that were deleted or replaced by a newer one of their name, with their jobs and logs;
  // since then.
  std::chrono::seconds forgotten_runs = std::chrono::hours(24 * 7);
  // Uploads, since they were last asked for.
  std::chrono::seconds files = std::chrono::hours(24 * 30);
  // Request ids, and with them the protection of repeated calls.
  std::chrono::seconds requests = std::chrono::hours(24 * 7);
};

// Deletes what is older than its retention. Thread-safe, blocking.
class RetentionStore {
 public:
  virtual ~RetentionStore() = default;

  // Whether it is this process's turn; then nobody else's for `interval` (database time).
  virtual absl::StatusOr<bool> ClaimTurn(std::chrono::milliseconds interval) = 0;
  // Deletes at most `limit` rows of each kind; gives how many there were. To be called again until
  // it is zero.
  virtual absl::StatusOr<std::size_t> DeleteSome(const Retention& retention,
                                                 std::size_t limit,
                                                 TimePoint now) = 0;
};

}  // namespace dstack::server
