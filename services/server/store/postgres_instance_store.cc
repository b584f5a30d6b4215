#include "services/server/store/postgres_instance_store.h"

#include <tuple>
#include <utility>

#include "dstack/api/v1/fleet.pb.h"

#include "fmt/format.h"
#include "libs/base/status.h"
#include "libs/base/uuid.h"
#include "libs/db/params.h"
#include "libs/db/rows.h"
#include "services/server/ports/notifications.h"
#include "services/server/store/enums.h"
#include "services/server/store/instance_rows.h"
#include "services/server/store/page_token.h"
#include "services/server/store/secret_places.h"

namespace dstack::server {
namespace {

using api::v1::INSTANCE_STATUS_IDLE;
using api::v1::INSTANCE_STATUS_TERMINATED;

constexpr const char* kLowestId = "00000000-0000-0000-0000-000000000000";

// Waiting jobs may fit now, or may have lost their last hope.
bool MattersToScheduler(const Instance& before, const Instance& after) {
  const auto facts = [](const Instance& instance) {
    return std::make_tuple(instance.status,
                           instance.is_unreachable,
                           instance.total_blocks,
                           instance.container_runtime,
                           instance.has_privileged,
                           instance.drain.has_value(),
                           instance.resources ? instance.resources->SerializeAsString() : "");
  };
  return facts(before) != facts(after);
}

// A row of the statement in LoadConnections.
class ConnectionRow {
 public:
  ConnectionRow(const SecretBox& box, const pqxx::row& row) : box_(box), row_(row) {}

  absl::StatusOr<HostConnection> Convert() const {
    HostConnection connection;
    const ProjectId project(db::Text(row_["project_id"]));
    ASSIGN_OR_RETURN(std::string project_key,
                     box_.Open(db::Blob(row_["project_private_key"]), ProjectKeyPlace(project)));
    connection.project_private_key = base::Secret(std::move(project_key));
    connection.project_public_key = db::Text(row_["project_public_key"]);
    ASSIGN_OR_RETURN(connection.host,
                     Hop("hostname", "port", "ssh_user", "identity_key_name", "host_key"));
    connection.host.private_keys.push_back(connection.project_private_key);
    if (!db::Text(row_["jump_hostname"]).empty()) {
      ASSIGN_OR_RETURN(
          SshHop jump,
          Hop("jump_hostname", "jump_port", "jump_user", "jump_key_name", "jump_host_key"));
      connection.jump = std::move(jump);
    }
    ASSIGN_OR_RETURN(connection.env, Env());
    return connection;
  }

 private:
  absl::StatusOr<SshHop> Hop(const char* hostname,
                             const char* port,
                             const char* user,
                             const char* key_name,
                             const char* host_key) const {
    SshHop hop;
    hop.hostname = db::Text(row_[hostname]);
    hop.port = db::As<std::uint16_t>(row_[port]);
    hop.user = db::Text(row_[user]);
    hop.host_key = db::Text(row_[host_key]);
    // Column of the joined key: the name's column with "_content".
    const auto sealed = row_[std::string(key_name) + "_content"];
    if (!sealed.is_null()) {
      const FleetId fleet(db::Text(row_["fleet_id"]));
      ASSIGN_OR_RETURN(std::string key,
                       box_.Open(db::Blob(sealed), FleetKeyPlace(fleet, db::Text(row_[key_name]))));
      hop.private_keys.emplace_back(std::move(key));
    }
    return hop;
  }

  absl::StatusOr<std::vector<std::pair<std::string, std::string>>> Env() const {
    const FleetId fleet(db::Text(row_["fleet_id"]));
    ASSIGN_OR_RETURN(const std::string bytes,
                     box_.Open(db::Blob(row_["fleet_spec"]), FleetSpecPlace(fleet)));
    api::v1::FleetSpec spec;
    if (!spec.ParseFromString(bytes)) {
      return base::Internal(FleetSpecPlace(fleet) + ": not a FleetSpec");
    }
    std::vector<std::pair<std::string, std::string>> env;
    for (const auto& variable : spec.configuration().env()) {
      env.emplace_back(variable.name(), variable.value());
    }
    return env;
  }

  const SecretBox& box_;
  const pqxx::row& row_;
};

}  // namespace

absl::Status PostgresInstanceStore::Heartbeat(const std::string& replica_id,
                                              std::chrono::milliseconds lease,
                                              bool is_new) {
  return Transact(context_, [&](pqxx::work& tx) -> absl::Status {
    const auto lease_ms = static_cast<std::int64_t>(lease.count());
    if (is_new) {
      // What an earlier life of this process still owns is free for everybody, itself included.
      tx.exec_params0("UPDATE instances SET owner_replica_id = NULL WHERE owner_replica_id = $1",
                      replica_id);
      tx.exec0("DELETE FROM replicas WHERE lease_expires_at < now() - interval '1 day'");
      tx.exec_params0(
          "INSERT INTO replicas (id, lease_expires_at)"
          " VALUES ($1, clock_timestamp() + $2 * interval '1 millisecond')"
          " ON CONFLICT (id) DO UPDATE SET lease_expires_at = excluded.lease_expires_at",
          replica_id,
          lease_ms);
      return absl::OkStatus();
    }
    const auto extended = tx.exec_params(
        "UPDATE replicas SET lease_expires_at = clock_timestamp() + $2 * interval '1 millisecond'"
        " WHERE id = $1 AND lease_expires_at > clock_timestamp()",
        replica_id,
        lease_ms);
    if (extended.affected_rows() == 1) return absl::OkStatus();
    return base::Error(absl::StatusCode::kNotFound,
                       "LEASE_LOST",
                       fmt::format("the lease of replica {} has expired", replica_id));
  });
}

absl::Status PostgresInstanceStore::Retire(const std::string& replica_id) {
  return Transact(context_, [&](pqxx::work& tx) -> absl::Status {
    tx.exec_params0("UPDATE instances SET owner_replica_id = NULL WHERE owner_replica_id = $1",
                    replica_id);
    tx.exec_params0("DELETE FROM replicas WHERE id = $1", replica_id);
    Outbox outbox;
    outbox.Notify(channel::kHost, "claim");
    outbox.Flush(tx, context_.clock.Now());
    return absl::OkStatus();
  });
}

absl::StatusOr<std::vector<ClaimedHost>> PostgresInstanceStore::Claim(const std::string& replica_id,
                                                                      std::size_t limit) {
  return Transact(context_, [&](pqxx::work& tx) -> absl::StatusOr<std::vector<ClaimedHost>> {
    std::vector<InstanceId> candidates;
    for (const auto& row : tx.exec_params(
             "SELECT i.id FROM instances i LEFT JOIN replicas r ON r.id = i.owner_replica_id"
             " WHERE i.status <> 'terminated' AND (r.id IS NULL OR r.lease_expires_at < now())"
             " ORDER BY i.id LIMIT $1 FOR NO KEY UPDATE OF i SKIP LOCKED",
             limit)) {
      candidates.emplace_back(db::Text(row["id"]));
    }
    // Looked at once more under the locks and with a younger snapshot: another replica may have
    // registered and claimed between the first one and the lock.
    std::vector<InstanceId> ids;
    for (const auto& row : tx.exec_params(
             "UPDATE instances i SET owner_replica_id = $1, owner_epoch = owner_epoch + 1"
             " WHERE i.id = ANY($2::uuid[]) AND NOT EXISTS (SELECT FROM replicas r"
             "  WHERE r.id = i.owner_replica_id AND r.lease_expires_at >= now())"
             " AND EXISTS (SELECT FROM replicas WHERE id = $1 AND lease_expires_at > now())"
             " RETURNING id",
             replica_id,
             db::IdArray(candidates))) {
      ids.emplace_back(db::Text(row["id"]));
    }
    if (ids.empty()) return std::vector<ClaimedHost>();
    const auto rows =
        tx.exec_params(std::string(kSelectInstance) + "WHERE i.id = ANY($1::uuid[]) ORDER BY i.id",
                       db::IdArray(ids));
    ASSIGN_OR_RETURN(std::vector<Instance> instances, InstancesFromRows(rows));
    ASSIGN_OR_RETURN(std::vector<HostConnection> connections, LoadConnections(tx, ids));
    std::vector<ClaimedHost> claimed;
    for (std::size_t i = 0; i < instances.size(); ++i) {
      claimed.push_back({std::move(instances[i]), std::move(connections[i])});
    }
    return claimed;
  });
}

// In the order of the ids as text, which is the order of uuid.
absl::StatusOr<std::vector<HostConnection>> PostgresInstanceStore::LoadConnections(
    pqxx::work& tx, const std::vector<InstanceId>& ids) {
  const auto rows = tx.exec_params(
      "SELECT i.project_id, i.fleet_id, i.hostname, i.port, i.ssh_user, i.identity_key_name,"
      " i.host_key, i.jump_hostname, i.jump_port, i.jump_user, i.jump_key_name, i.jump_host_key,"
      " k.private_key AS identity_key_name_content, jk.private_key AS jump_key_name_content,"
      " p.ssh_public_key AS project_public_key, p.ssh_private_key AS project_private_key,"
      " f.spec AS fleet_spec"
      " FROM instances i JOIN projects p ON p.id = i.project_id JOIN fleets f ON f.id = i.fleet_id"
      " LEFT JOIN fleet_keys k ON k.fleet_id = i.fleet_id AND k.name = i.identity_key_name"
      " LEFT JOIN fleet_keys jk ON jk.fleet_id = i.fleet_id AND jk.name = i.jump_key_name"
      " WHERE i.id = ANY($1::uuid[]) ORDER BY i.id",
      db::IdArray(ids));
  std::vector<HostConnection> connections;
  for (const auto& row : rows) {
    ASSIGN_OR_RETURN(HostConnection connection, ConnectionRow(context_.box, row).Convert());
    connections.push_back(std::move(connection));
  }
  return connections;
}

absl::StatusOr<Instance> PostgresInstanceStore::Load(const InstanceId& id) {
  if (!base::IsUuid(id.str())) return InstanceNotFound(id.str());
  return Transact(context_, [&](pqxx::work& tx) -> absl::StatusOr<Instance> {
    const auto rows = tx.exec_params(std::string(kSelectInstance) + "WHERE i.id = $1", id.str());
    if (rows.empty()) return InstanceNotFound(id.str());
    return InstanceFromRow(rows[0]);
  });
}

absl::StatusOr<HostConnection> PostgresInstanceStore::LoadConnection(const InstanceId& id) {
  if (!base::IsUuid(id.str())) return InstanceNotFound(id.str());
  return Transact(context_, [&](pqxx::work& tx) -> absl::StatusOr<HostConnection> {
    ASSIGN_OR_RETURN(auto connections, LoadConnections(tx, {id}));
    if (connections.empty()) return InstanceNotFound(id.str());
    return std::move(connections.front());
  });
}

absl::StatusOr<Instance> PostgresInstanceStore::UpdateInside(pqxx::work& tx,
                                                             const HostEpoch& host,
                                                             TimePoint now,
                                                             const Change& change) {
  ASSIGN_OR_RETURN(const Instance before, LockOwnedInstance(tx, host));
  Instance after = before;
  if (!change(after)) return before;
  if (IsFinal(before.status) && after.status != before.status) {
    return base::Error(absl::StatusCode::kFailedPrecondition,
                       "INVALID_STATE",
                       fmt::format("host {} is {} for good", before.name, Name(before.status)),
                       {{"from", Name(before.status)}, {"event", Name(after.status)}});
  }
  // Blocks are counted by the jobs alone.
  after.busy_blocks = before.busy_blocks;
  if (TakesJobs(after)) {
    after.status = after.busy_blocks == 0 ? INSTANCE_STATUS_IDLE : api::v1::INSTANCE_STATUS_BUSY;
  }
  UpdateInstance(tx, after, now);

  Outbox outbox;
  AddInstanceEvents(before, after, outbox);
  if (MattersToScheduler(before, after)) outbox.Notify(channel::kWork, "jobs");
  if (after.status == INSTANCE_STATUS_TERMINATED && before.status != after.status) {
    EndFleetIfEmpty(tx, after.fleet_id, outbox);
  }
  outbox.Flush(tx, now);
  return after;
}

absl::StatusOr<Instance> PostgresInstanceStore::Update(const HostEpoch& host,
                                                       TimePoint now,
                                                       const Change& change) {
  return Transact(context_, [&](pqxx::work& tx) { return UpdateInside(tx, host, now, change); });
}

absl::StatusOr<Instance> PostgresInstanceStore::SetDrain(const InstanceId& id,
                                                         const std::optional<std::string>& reason,
                                                         const UserId& actor,
                                                         TimePoint now) {
  return Transact(context_, [&](pqxx::work& tx) -> absl::StatusOr<Instance> {
    ASSIGN_OR_RETURN(Instance instance, LockInstance(tx, id));
    if (instance.status == api::v1::INSTANCE_STATUS_TERMINATING || IsFinal(instance.status)) {
      return base::Error(absl::StatusCode::kFailedPrecondition,
                         "INVALID_STATE",
                         fmt::format("host {} is being given up", instance.name),
                         {{"from", Name(instance.status)}, {"event", "drain"}});
    }
    const bool is_same = reason.has_value() == instance.drain.has_value() &&
                         (!reason || *reason == instance.drain->reason);
    if (is_same) return instance;
    if (reason) {
      const TimePoint since = instance.drain ? instance.drain->since : now;
      instance.drain = InstanceDrain{.reason = *reason, .since = since};
    } else {
      instance.drain.reset();
    }
    instance.is_drain_confirmed = false;
    instance.drain_live_tasks = 0;
    UpdateInstance(tx, instance, now);
    Outbox outbox;
    outbox.AddEvent(instance.project_id,
                    {"instance", instance.id.str(), instance.name},
                    reason ? "instance drain: set: " + *reason : "instance drain: lifted",
                    actor);
    outbox.Notify(channel::kHost, instance.id.str());
    outbox.Notify(channel::kWork, "jobs");
    outbox.Flush(tx, now);
    return instance;
  });
}

absl::StatusOr<InstanceStore::Page> PostgresInstanceStore::List(const Filter& filter) {
  std::vector<std::string> after = {"", kLowestId, "-1", kLowestId};
  if (!filter.page_token.empty()) {
    ASSIGN_OR_RETURN(after, DecodePageToken(filter.page_token, 4));
  }
  std::string sql = std::string(kSelectInstance) +
                    "WHERE i.project_id = $1"
                    " AND (f.name, f.id, i.instance_num, i.id)"
                    " > ($2::text, $3::uuid, $4::integer, $7::uuid)";
  if (!filter.include_terminated) sql += " AND i.status <> 'terminated'";
  sql += " AND ($5 = '' OR f.name = $5) ORDER BY f.name, f.id, i.instance_num, i.id LIMIT $6";
  return Transact(context_, [&](pqxx::work& tx) -> absl::StatusOr<Page> {
    const auto rows = tx.exec_params(sql,
                                     filter.project_id.str(),
                                     after[0],
                                     after[1],
                                     after[2],
                                     db::CleanText(filter.fleet_name),
                                     filter.page_size + 1,
                                     after[3]);
    Page page;
    ASSIGN_OR_RETURN(page.instances, InstancesFromRows(rows));
    if (page.instances.size() > filter.page_size) {
      page.instances.pop_back();
      const Instance& last = page.instances.back();
      page.next_page_token = EncodePageToken(
          {last.fleet_name, last.fleet_id.str(), std::to_string(last.instance_num), last.id.str()});
    }
    return page;
  });
}

}  // namespace dstack::server
