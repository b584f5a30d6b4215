#pragma once

#include <optional>
#include <string>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "dstack/shim/v1/shim_service.pb.h"

#include "libs/base/mutex.h"
#include "services/shim/domain/shim_home.h"
#include "services/shim/pipeline/status_board.h"

namespace dstack::shim {

// Whether the host takes new tasks; kept on disk. Thread-safe.
class DrainStore {
 public:
  // `board` outlives the object.
  DrainStore(ShimHome home, const StatusBoard& board);
  // Reads what an earlier process was told.
  absl::Status Load();

  // Remembers it before the return. INVALID_FIELDS for a drain without a reason, or with one of
  // more than 256 bytes or with control characters.
  absl::Status Set(bool is_draining, const std::string& reason);

  bool is_draining() const;
  v1::DrainStatus status() const;
  // FAILED_PRECONDITION/HOST_DRAINING with the reason while the host is drained.
  absl::Status CheckTakesTasks() const;

 private:
  const ShimHome home_;
  const StatusBoard& board_;
  mutable base::Mutex mutex_;
  std::optional<std::string> reason_ GUARDED_BY(mutex_);
};

}  // namespace dstack::shim
