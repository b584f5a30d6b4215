// The table of fleets and their instances.
#pragma once

#include <vector>

#include "dstack/api/v1/fleet.pb.h"

#include "clients/cli/render/table.h"
#include "libs/base/clock.h"

namespace dstack::cli {

struct FleetTableOptions {
  bool is_verbose = false;
  base::WallTime now;
};

// The fleets in the given order, each with a row per instance below it.
Table FleetTable(const std::vector<api::v1::Fleet>& fleets, const FleetTableOptions& options);

// "idle", "1/4 busy", "provisioning", "busy (unreachable)", ...
std::string InstanceStatusText(const api::v1::Instance& instance);

// "0..2", "2", "3.."; the number of hosts of an SSH fleet.
std::string FleetNodesText(const config::v1::FleetConfiguration& configuration);

}  // namespace dstack::cli
