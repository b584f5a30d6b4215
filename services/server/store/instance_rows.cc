#include "services/server/store/instance_rows.h"

#include <string>
#include <utility>

#include "fmt/format.h"
#include "libs/base/status.h"
#include "libs/db/params.h"
#include "libs/db/rows.h"
#include "libs/db/statement.h"
#include "services/server/domain/instance/drain.h"
#include "services/server/store/enums.h"

namespace dstack::server {

using api::v1::INSTANCE_STATUS_BUSY;
using api::v1::INSTANCE_STATUS_IDLE;

const char* const kSelectInstance =
    "SELECT i.id, i.project_id, p.name AS project_name, i.fleet_id, f.name AS fleet_name,"
    " i.instance_num, i.name, i.status, i.termination_reason, i.status_message, i.is_unreachable,"
    " i.hostname, i.port, i.resources, i.container_runtime, i.has_privileged, i.shim_version,"
    " i.host_key, i.host_key_fingerprint, i.wanted_blocks, i.total_blocks, i.busy_blocks,"
    " i.owner_replica_id, i.owner_epoch, extract(epoch FROM i.created_at) AS created_at,"
    " extract(epoch FROM i.drain_since) AS drain_since, i.drain_reason, i.is_drain_confirmed,"
    " i.drain_live_tasks"
    " FROM instances i JOIN projects p ON p.id = i.project_id JOIN fleets f ON f.id = i.fleet_id ";

absl::StatusOr<Instance> InstanceFromRow(const pqxx::row& row) {
  Instance instance;
  instance.id = InstanceId(db::Text(row["id"]));
  instance.project_id = ProjectId(db::Text(row["project_id"]));
  instance.project_name = db::Text(row["project_name"]);
  instance.fleet_id = FleetId(db::Text(row["fleet_id"]));
  instance.fleet_name = db::Text(row["fleet_name"]);
  instance.instance_num = db::As<std::uint32_t>(row["instance_num"]);
  instance.name = db::Text(row["name"]);
  instance.status = FromWord<InstanceStatus>(db::TextView(row["status"]));
  instance.termination_reason =
      FromWord<InstanceTerminationReason>(db::TextView(row["termination_reason"]));
  instance.status_message = db::Text(row["status_message"]);
  instance.is_unreachable = db::Bool(row["is_unreachable"]);
  instance.hostname = db::Text(row["hostname"]);
  instance.port = db::As<std::uint16_t>(row["port"]);
  if (!row["resources"].is_null() &&
      !instance.resources.emplace().ParseFromString(db::Blob(row["resources"]))) {
    return base::Internal(fmt::format("instances.resources:{}: not a Resources", instance.id));
  }
  instance.container_runtime = db::Text(row["container_runtime"]);
  instance.has_privileged = db::Bool(row["has_privileged"]);
  instance.shim_version = db::Text(row["shim_version"]);
  instance.host_key = db::Text(row["host_key"]);
  instance.host_key_fingerprint = db::Text(row["host_key_fingerprint"]);
  instance.wanted_blocks = db::As<std::uint32_t>(row["wanted_blocks"]);
  instance.total_blocks = db::As<std::uint32_t>(row["total_blocks"]);
  instance.busy_blocks = db::As<std::uint32_t>(row["busy_blocks"]);
  instance.owner_replica_id = db::Text(row["owner_replica_id"]);
  instance.owner_epoch = db::As<std::uint64_t>(row["owner_epoch"]);
  instance.created_at = db::EpochTime(row["created_at"]);
  if (const auto since = db::OptionalEpochTime(row["drain_since"])) {
    instance.drain = InstanceDrain{.reason = db::Text(row["drain_reason"]), .since = *since};
  }
  instance.is_drain_confirmed = db::Bool(row["is_drain_confirmed"]);
  instance.drain_live_tasks = db::As<std::uint32_t>(row["drain_live_tasks"]);
  return instance;
}

absl::StatusOr<std::vector<Instance>> InstancesFromRows(const pqxx::result& rows) {
  std::vector<Instance> instances;
  instances.reserve(rows.size());
  for (const auto& row : rows) {
    ASSIGN_OR_RETURN(Instance instance, InstanceFromRow(row));
    instances.push_back(std::move(instance));
  }
  return instances;
}

absl::StatusOr<Instance> LockInstance(pqxx::work& tx, const InstanceId& id) {
  const auto rows = db::ExecPrepared(
      tx, std::string(kSelectInstance) + "WHERE i.id = $1 FOR NO KEY UPDATE OF i", id.str());
  if (rows.empty()) return InstanceNotFound(id.str());
  return InstanceFromRow(rows[0]);
}

absl::StatusOr<Instance> LockOwnedInstance(pqxx::work& tx, const HostEpoch& host) {
  ASSIGN_OR_RETURN(Instance instance, LockInstance(tx, host.instance_id));
  if (instance.owner_epoch != host.epoch) {
    return LeaseLost(fmt::format("host {} is at epoch {}, the writer at {}",
                                 instance.name,
                                 instance.owner_epoch,
                                 host.epoch));
  }
  return instance;
}

void UpdateInstance(pqxx::work& tx, const Instance& instance, TimePoint now) {
  db::ExecPrepared(
      tx,
      "UPDATE instances SET status = $2, termination_reason = $3, status_message = $4,"
      " is_unreachable = $5, resources = $6, container_runtime = $7, has_privileged = $8,"
      " shim_version = $9, host_key = $10, host_key_fingerprint = $11, total_blocks = $12,"
      " finished_at = CASE WHEN $2 = 'terminated' THEN coalesce(finished_at, $13) END,"
      " drain_since = $14, drain_reason = $15, is_drain_confirmed = $16, drain_live_tasks = $17"
      " WHERE id = $1",
      instance.id.str(),
      WordOf(instance.status),
      WordOrNull(instance.termination_reason),
      db::CleanText(instance.status_message),
      instance.is_unreachable,
      instance.resources ? db::Param{db::BytesLiteral(instance.resources->SerializeAsString())}
                         : db::Null(),
      db::CleanText(instance.container_runtime),
      instance.has_privileged,
      db::CleanText(instance.shim_version),
      db::CleanText(instance.host_key),
      db::CleanText(instance.host_key_fingerprint),
      instance.total_blocks,
      db::Time(now),
      instance.drain ? db::Time(instance.drain->since) : db::Null(),
      instance.drain ? db::CleanText(instance.drain->reason) : "",
      instance.is_drain_confirmed,
      instance.drain_live_tasks);
}

void UpdateBlocks(pqxx::work& tx, Instance& instance) {
  if (TakesJobs(instance)) {
    instance.status = instance.busy_blocks == 0 ? INSTANCE_STATUS_IDLE : INSTANCE_STATUS_BUSY;
  }
  db::ExecPrepared(tx,
                   "UPDATE instances SET busy_blocks = $2, status = $3 WHERE id = $1",
                   instance.id.str(),
                   instance.busy_blocks,
                   WordOf(instance.status));
}

namespace {

void AddEvent(const Instance& instance, std::string message, Outbox& outbox) {
  outbox.AddEvent(
      instance.project_id, {"instance", instance.id.str(), instance.name}, std::move(message));
}

std::string Because(const std::string& message) { return message.empty() ? "" : ": " + message; }

}  // namespace

void AddDrainEvents(const Instance& before, const Instance& after, Outbox& outbox) {
  if (after.drain && !before.drain) {
    AddEvent(after, "instance drain: set on the host: " + after.drain->reason, outbox);
  }
  if (IsDrainedEmpty(after) && !IsDrainedEmpty(before)) {
    AddEvent(after, "instance drain: nothing runs on the host any more", outbox);
  }
}

void AddInstanceEvents(const Instance& before, const Instance& after, Outbox& outbox) {
  if (before.status != after.status) {
    AddEvent(after,
             fmt::format("instance status: {} -> {}{}",
                         Name(before.status),
                         Name(after.status),
                         Because(after.status_message)),
             outbox);
  }
  if (after.is_unreachable && !before.is_unreachable) {
    AddEvent(after, "instance is unreachable" + Because(after.status_message), outbox);
  }
  if (!after.is_unreachable && before.is_unreachable) {
    AddEvent(after, "instance is reachable again", outbox);
  }
  if (const InstanceHealth health = HealthOf(after); health != HealthOf(before)) {
    AddEvent(after,
             fmt::format("instance health: {} -> {}{}",
                         Name(HealthOf(before).status),
                         Name(health.status),
                         Because(health.message)),
             outbox);
  }
  AddDrainEvents(before, after, outbox);
}

void EndFleetIfEmpty(pqxx::work& tx, const FleetId& fleet, Outbox& outbox) {
  const auto rows = db::ExecPrepared(
      tx,
      "SELECT project_id, name FROM fleets WHERE id = $1 AND status = 'terminating'"
      " FOR NO KEY UPDATE",
      fleet.str());
  if (rows.empty()) return;
  const auto updated = db::ExecPrepared(
      tx,
      "UPDATE fleets SET status = 'terminated', version = version + 1 WHERE id = $1 AND NOT EXISTS"
      " (SELECT FROM instances WHERE fleet_id = $1 AND status <> 'terminated')",
      fleet.str());
  if (updated.affected_rows() == 0) return;
  // Its keys open hosts that it has no more.
  db::ExecPrepared(tx, "DELETE FROM fleet_keys WHERE fleet_id = $1", fleet.str());
  outbox.AddEvent(ProjectId(db::Text(rows[0]["project_id"])),
                  {"fleet", fleet.str(), db::Text(rows[0]["name"])},
                  "fleet is terminated");
}

absl::Status InstanceNotFound(const std::string& id) {
  return base::NotFound("INSTANCE_NOT_FOUND", "instance", id);
}

absl::Status LeaseLost(const std::string& message) {
  return base::Error(absl::StatusCode::kAborted, "LEASE_LOST", message);
}

bool TakesJobs(const Instance& instance) {
  return instance.status == INSTANCE_STATUS_IDLE || instance.status == INSTANCE_STATUS_BUSY;
}

}  // namespace dstack::server
