#pragma once

#include <string>
#include <vector>

#include <absl/status/statusor.h>

#include "libs/base/mutex.h"

namespace dstack::shim {

// Which task holds which accelerator of the host; each is held by one task at most. Thread-safe.
// Nothing is kept on disk: after a restart the live tasks' records are locked again.
class GpuLedger {
 public:
  // `ids` in the order of the host's tool; neighbours in it are given out together.
  explicit GpuLedger(std::vector<std::string> ids);

  // Takes `count` free ones for `holder`, or all free ones (perhaps none) when count is -1.
  // RESOURCE_EXHAUSTED states how many were wanted and how many are free, and takes nothing;
  // INVALID_ARGUMENT for 0 and below -1.
  absl::StatusOr<std::vector<std::string>> Acquire(const std::string& holder, int count);

  // Takes these for `holder`; returns those that were known and free.
  std::vector<std::string> Lock(const std::string& holder, const std::vector<std::string>& ids);

  // Gives back all that `holder` has; nobody else's. Idempotent. Returns what was given back.
  std::vector<std::string> Release(const std::string& holder);

  std::size_t free_count() const;

 private:
  struct Entry {
    std::string id;
    std::string holder;  // empty: free
  };

  mutable base::Mutex mutex_;
  std::vector<Entry> entries_ GUARDED_BY(mutex_);
};

}  // namespace dstack::shim
