#pragma once

#include <string>
#include <vector>

#include "dstack/api/v1/fleet.pb.h"
#include "dstack/api/v1/run.pb.h"

namespace dstack::server {

// One difference between two specs.
struct SpecChange {
  // Field of the user's document that it belongs to: "commands", "resources.memory",
  // "ssh_config.hosts".
  std::string field;
  // The place itself: "commands[1]", "env.HF_TOKEN", "ssh_config.hosts[10.0.0.3].blocks".
  std::string path;
  // Values in one short line; empty: not set, or nothing that fits one line. Secrets are "***".
  std::string current;
  std::string wanted;
};

// What differs between two specs with all defaults, in the order of the document. Pure. Environment
// variables, files and hosts are compared by what they are called, not by their order.
std::vector<SpecChange> CompareSpecs(const api::v1::RunSpec& current,
                                     const api::v1::RunSpec& wanted);
std::vector<SpecChange> CompareSpecs(const api::v1::FleetSpec& current,
                                     const api::v1::FleetSpec& wanted);

// The fields of the changes, sorted, each once.
std::vector<std::string> FieldsOf(const std::vector<SpecChange>& changes);

// Whether an active run can take the changes in place: priority and file name for all kinds, an
// architecture that is not asked for any more, for development environments also
// inactivity_duration. Everything else needs a new run.
bool IsUpdatable(const api::v1::RunSpec& wanted, const std::vector<SpecChange>& changes);

// The same for a live fleet: it takes hosts in and gives hosts up, and may be read from another
// file; nothing else changes in place. Whether a host that stays was edited is not asked here: what
// it is set to may come from the fleet as well.
bool IsUpdatable(const std::vector<SpecChange>& changes);

}  // namespace dstack::server
