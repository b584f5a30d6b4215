#pragma once

#include <string>
#include <vector>

#include "dstack/api/v1/fleet.pb.h"
#include "dstack/api/v1/run.pb.h"

namespace dstack::server {

// What differs between two specs with all defaults, as paths in the user's document ("commands",
// "resources", "max_duration"), sorted. Pure.
std::vector<std::string> ChangedFields(const api::v1::RunSpec& current,
                                       const api::v1::RunSpec& wanted);

// Whether an active run can take the change in place: priority and file name for all kinds, for
// development environments also inactivity_duration. Everything else needs a new run.
bool IsUpdatable(const api::v1::RunSpec& wanted, const std::vector<std::string>& changed_fields);

// The same for fleets. Hosts are compared by what they are, not by their order.
std::vector<std::string> ChangedFields(const api::v1::FleetSpec& current,
                                       const api::v1::FleetSpec& wanted);

// A live fleet takes hosts in and gives hosts up, and may be read from another file; nothing else
// changes in place.
bool IsUpdatable(const std::vector<std::string>& changed_fleet_fields);

}  // namespace dstack::server
