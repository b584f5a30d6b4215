#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/base/ids.h"
#include "services/server/domain/fleet/fleet.h"

namespace dstack::server {

struct NewHost {
  InstanceId id;
  std::string hostname;
  std::uint16_t port = 22;
  std::string user;
  std::string identity_key_name;  // key of FleetSpec.ssh_keys
  std::string host_key;
  std::string internal_ip;
  std::uint32_t blocks = 1;  // 0 auto
  // Absent: direct.
  struct Jump {
    std::string hostname;
    std::uint16_t port = 22;
    std::string user;
    std::string identity_key_name;
    std::string host_key;

    bool operator==(const Jump&) const = default;
  };
  std::optional<Jump> jump;
};

struct FleetChange {
  ProjectId project_id;
  UserId user_id;
  std::string name;         // empty: generated
  api::v1::FleetSpec spec;  // ssh_keys still inside; stored encrypted apart from the document
  std::optional<FleetId> fleet_id;  // absent: create
  std::vector<NewHost> added;
  std::vector<InstanceId> removed;
  std::string request_id;
  std::string request_digest;
  std::optional<std::string> expected_current_fleet_id;  // nullopt: forced
};

// Fleets. Thread-safe, blocking.
class FleetStore {
 public:
  virtual ~FleetStore() = default;
  // Creates or changes a fleet. ALREADY_EXISTS/NAME_TAKEN names a host that belongs to another live
  // fleet.
  virtual absl::StatusOr<Fleet> Apply(const FleetChange& change, TimePoint now) = 0;
  // NOT_FOUND/FLEET_NOT_FOUND. By name only live ones.
  virtual absl::StatusOr<Fleet> Load(const ProjectId& project,
                                     const std::string& name,
                                     const std::string& id) = 0;
  struct Page {
    std::vector<Fleet> fleets;
    std::string next_page_token;
  };
  virtual absl::StatusOr<Page> List(const ProjectId& project,
                                    std::uint32_t page_size,
                                    const std::string& page_token) = 0;
  // Whole fleets (instance_nums empty) or hosts of the one fleet named.
  // FAILED_PRECONDITION/RESOURCE_BUSY names the runs in the way.
  virtual absl::Status Delete(const ProjectId& project,
                              const std::vector<std::string>& names,
                              const std::vector<std::uint32_t>& instance_nums,
                              bool allow_missing,
                              TimePoint now) = 0;
  virtual absl::StatusOr<bool> HasAny(const ProjectId& project) = 0;
};

}  // namespace dstack::server
