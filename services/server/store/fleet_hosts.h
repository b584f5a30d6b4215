#pragma once

#include <set>
#include <string>
#include <vector>

#include <pqxx/pqxx>

#include "absl/status/status.h"
#include "services/server/ports/fleet_store.h"
#include "services/server/store/outbox.h"

// Hosts of fleets: the part of a fleet's change that concerns instances.
namespace dstack::server {

// ALREADY_EXISTS/NAME_TAKEN names the first of `hosts` that belongs to a live fleet already.
absl::Status CheckHostsAreFree(pqxx::work& tx,
                               const ProjectId& project,
                               const std::vector<NewHost>& hosts);

// Inserts the hosts with the lowest free numbers of the fleet.
void InsertHosts(pqxx::work& tx,
                 const Fleet& fleet,
                 const std::vector<NewHost>& hosts,
                 TimePoint now,
                 Outbox& outbox);

// Locks `ids`, checks that no job is alive on them (FAILED_PRECONDITION/RESOURCE_BUSY names the
// runs in the way) and makes them TERMINATING.
absl::Status GiveUpHosts(pqxx::work& tx, const std::vector<InstanceId>& ids, Outbox& outbox);

}  // namespace dstack::server
