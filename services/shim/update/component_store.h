#pragma once

#include <cstdint>
#include <map>
#include <string>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "dstack/shim/v1/upgrade.pb.h"

#include "libs/base/file.h"
#include "libs/base/sha256.h"
#include "services/shim/domain/shim_home.h"
#include "services/shim/update/release.h"

namespace dstack::shim {

// Takes components that arrive in pieces and puts them beside the running ones. Nothing that runs
// is touched: names hold the digest. Not thread-safe; blocks on the disk.
class ComponentStore {
 public:
  explicit ComponentStore(ShimHome home);
  // Deletes what is incomplete.
  ~ComponentStore();

  // See upgrade.proto. A component that is there already is STAGED at once.
  v1::ComponentStatus Receive(const v1::ComponentChunk& chunk);

  // The set that the command names. Errors carry the reason of a refusal: INVALID_FIELDS without a
  // shim or a runner, INVALID_STATE when one is not here, VERSION_MISMATCH when the programs do not
  // start on this host or have different versions. Runs both with --version.
  absl::StatusOr<AgentSet> Check(const v1::ActivateCommand& command) const;

  // Deletes all components but those of `kept` and the one that `start-shim` begins with.
  void RemoveOthers(const std::vector<AgentSet>& kept) const;

 private:
  struct Incoming {
    std::string sha256;
    std::uint64_t total_bytes = 0;
    std::uint64_t received_bytes = 0;
    base::UniqueFd file;
    base::Sha256 hash;
  };

  absl::Status Take(const v1::ComponentChunk& chunk, v1::ComponentStatus* status);
  absl::Status Begin(const v1::ComponentChunk& chunk);
  absl::Status Complete(v1::Component component, Incoming* incoming);
  absl::Status UnpackSsh(const std::string& archive, const std::string& digits) const;
  std::string PartPath(v1::Component component) const;

  const ShimHome home_;
  // One of each kind at a time.
  std::map<v1::Component, Incoming> incoming_;
};

// OK when the bytes begin as an executable for this machine's processor does.
absl::Status CheckExecutable(std::string_view head);

}  // namespace dstack::shim
