#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dstack/api/v1/fleet.pb.h"

#include "libs/base/ids.h"
#include "services/server/domain/instance/instance.h"

namespace dstack::server {

// One row of `fleets` with its live hosts.
struct Fleet {
  FleetId id;
  ProjectId project_id;
  std::string project_name;
  std::string name;
  // Document without keys.
  api::v1::FleetSpec spec;
  api::v1::FleetStatus status = api::v1::FLEET_STATUS_ACTIVE;
  std::string status_message;
  TimePoint created_at;
  std::uint64_t version = 1;
  std::vector<Instance> instances;
};

}  // namespace dstack::server
