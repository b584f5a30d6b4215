#pragma once

#include <string>
#include <vector>

#include <pqxx/pqxx>

#include "absl/status/statusor.h"
#include "services/server/domain/instance/instance.h"
#include "services/server/ports/job_store.h"
#include "services/server/store/outbox.h"

namespace dstack::server {

// "SELECT <columns of an instance> FROM instances i JOIN ...": to be continued with WHERE.
extern const char* const kSelectInstance;

absl::StatusOr<Instance> InstanceFromRow(const pqxx::row& row);
absl::StatusOr<std::vector<Instance>> InstancesFromRows(const pqxx::result& rows);

// Locks an instance. NOT_FOUND/INSTANCE_NOT_FOUND.
absl::StatusOr<Instance> LockInstance(pqxx::work& tx, const InstanceId& id);
// Locks it for its owner. ABORTED/LEASE_LOST when `host` is not the present ownership.
absl::StatusOr<Instance> LockOwnedInstance(pqxx::work& tx, const HostEpoch& host);

// Writes what can change in the life of an instance. Blocks and ownership have their own
// statements.
void UpdateInstance(pqxx::work& tx, const Instance& instance, TimePoint now);

// Writes busy_blocks, and IDLE or BUSY accordingly in `instance` and the table.
void UpdateBlocks(pqxx::work& tx, Instance& instance);

// What the owner of a host tells about its drain, and when the drained host is empty.
void AddDrainEvents(const Instance& before, const Instance& after, Outbox& outbox);
// What the owner of a host tells: status, whether it can be reached, health, drain.
void AddInstanceEvents(const Instance& before, const Instance& after, Outbox& outbox);

// Ends a terminating fleet whose last instance has gone. Call it after the instance's update; the
// fleet's row is locked, so that the last two instances cannot overlook one another.
void EndFleetIfEmpty(pqxx::work& tx, const FleetId& fleet, Outbox& outbox);

absl::Status InstanceNotFound(const std::string& id);
absl::Status LeaseLost(const std::string& message);

// IDLE or BUSY: what takes jobs.
bool TakesJobs(const Instance& instance);

}  // namespace dstack::server
