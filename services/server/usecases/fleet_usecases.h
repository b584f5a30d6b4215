#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/base/clock.h"
#include "libs/base/uuid.h"
#include "libs/rpc/caller.h"
#include "services/server/ports/fleet_store.h"
#include "services/server/ports/identity_store.h"
#include "services/server/usecases/spec_diff.h"

namespace dstack::server {

struct FleetProposal {
  api::v1::FleetSpec effective_spec;  // without keys
  std::optional<Fleet> current_fleet;
  std::vector<SpecChange> changes;
  bool is_updatable = false;
};

// Use cases of fleets. Thread-safe, blocking; the store outlives it.
class FleetUseCases {
 public:
  FleetUseCases(FleetStore& fleets, const base::Clock& clock, base::IdSource& ids);

  absl::StatusOr<FleetProposal> Plan(const Project& project, const api::v1::FleetSpec& spec);

  struct Application {
    api::v1::FleetSpec spec;
    std::string request_id;
    std::string request_digest;
    std::string current_fleet_id;
    bool is_forced = false;
  };
  // Creates a fleet, or adds and removes hosts of the live one. FAILED_PRECONDITION/INVALID_STATE
  // names the fields that need a new fleet.
  absl::StatusOr<Fleet> Apply(const rpc::Caller& caller,
                              const Project& project,
                              const Application& application);

  absl::Status Delete(const Project& project,
                      const std::vector<std::string>& names,
                      const std::vector<std::uint32_t>& instance_nums,
                      bool allow_missing);

 private:
  absl::StatusOr<std::optional<Fleet>> FindLive(const Project& project, const std::string& name);

  FleetStore& fleets_;
  const base::Clock& clock_;
  base::IdSource& ids_;
};

}  // namespace dstack::server
