#pragma once

#include <cstdint>
#include <string>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "services/shim/domain/shim_home.h"

namespace dstack::shim {

// Who this shim is and whom it serves, on disk. Not thread-safe.
class IdentityStore {
 public:
  // Reads what is there and makes the shim's id when there is none.
  static absl::StatusOr<IdentityStore> Load(ShimHome home);

  const std::string& shim_id() const { return shim_id_; }
  std::uint64_t epoch() const { return epoch_; }

  // Accepts a server as the driver of this host and remembers it before the return. Refuses another
  // installation than the first one (PERMISSION_DENIED/ACCESS_DENIED) and an epoch below the
  // highest seen (FAILED_PRECONDITION/STALE_EPOCH).
  absl::Status Accept(const std::string& server_id, std::uint64_t epoch);

 private:
  explicit IdentityStore(ShimHome home) : home_(std::move(home)) {}

  ShimHome home_;
  std::string shim_id_;
  std::string server_id_;  // empty before the first session
  std::uint64_t epoch_ = 0;
};

}  // namespace dstack::shim
