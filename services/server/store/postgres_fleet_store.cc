#include "services/server/store/postgres_fleet_store.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_join.h"
#include "fmt/format.h"
#include "libs/base/status.h"
#include "libs/base/uuid.h"
#include "libs/db/params.h"
#include "libs/db/rows.h"
#include "services/server/ports/notifications.h"
#include "services/server/store/enums.h"
#include "services/server/store/fleet_hosts.h"
#include "services/server/store/instance_rows.h"
#include "services/server/store/page_token.h"
#include "services/server/store/random_names.h"
#include "services/server/store/requests.h"
#include "services/server/store/secret_places.h"

namespace dstack::server {
namespace {

constexpr int kNameAttempts = 20;

constexpr const char* kSelectFleet =
    "SELECT f.id, f.project_id, p.name AS project_name, f.name, f.spec, f.status,"
    " f.status_message, extract(epoch FROM f.created_at) AS created_at, f.version"
    " FROM fleets f JOIN projects p ON p.id = f.project_id ";

// The document without private keys, wherever a client may have put them.
api::v1::FleetSpec WithoutKeys(api::v1::FleetSpec spec) {
  spec.clear_ssh_keys();
  if (!spec.configuration().has_ssh_config()) return spec;
  auto& ssh = *spec.mutable_configuration()->mutable_ssh_config();
  ssh.clear_ssh_key();
  if (ssh.has_proxy_jump()) ssh.mutable_proxy_jump()->clear_ssh_key();
  for (auto& host : *ssh.mutable_hosts()) {
    host.clear_ssh_key();
    if (host.has_proxy_jump()) host.mutable_proxy_jump()->clear_ssh_key();
  }
  return spec;
}

absl::Status FleetNotFound(const std::string& name) {
  return base::NotFound("FLEET_NOT_FOUND", "fleet", name);
}

absl::Status ChangedSincePlan(const std::string& name) {
  return base::Error(absl::StatusCode::kAborted,
                     "CHANGED_SINCE_PLAN",
                     fmt::format("fleet '{}' changed since the plan was made", name));
}

// Id of the live fleet of a name; empty when there is none.
std::string LiveFleet(pqxx::work& tx, const ProjectId& project, const std::string& name) {
  const auto rows = tx.exec_params(
      "SELECT id FROM fleets WHERE project_id = $1 AND name = $2 AND status <> 'terminated'",
      project.str(),
      name);
  return rows.empty() ? std::string() : db::Text(rows[0]["id"]);
}

// Ids of the live fleets of these names.
absl::StatusOr<std::vector<FleetId>> FindLive(pqxx::work& tx,
                                              const ProjectId& project,
                                              const std::vector<std::string>& names,
                                              bool allow_missing) {
  std::vector<FleetId> found;
  std::vector<std::string> missing;
  for (const std::string& name : names) {
    const std::string id = LiveFleet(tx, project, db::CleanText(name));
    if (id.empty()) {
      missing.push_back(name);
    } else {
      found.emplace_back(id);
    }
  }
  if (!missing.empty() && !allow_missing) return FleetNotFound(absl::StrJoin(missing, ", "));
  return found;
}

std::vector<InstanceId> LiveHosts(pqxx::work& tx, const std::vector<FleetId>& fleets) {
  std::vector<InstanceId> ids;
  for (const auto& row : tx.exec_params(
           "SELECT id FROM instances WHERE fleet_id = ANY($1::uuid[]) AND status <> 'terminated'",
           db::IdArray(fleets))) {
    ids.emplace_back(db::Text(row["id"]));
  }
  return ids;
}

// Ids of the live hosts with these numbers.
absl::StatusOr<std::vector<InstanceId>> FindHosts(pqxx::work& tx,
                                                  const std::vector<FleetId>& fleets,
                                                  const std::vector<std::uint32_t>& numbers,
                                                  bool allow_missing) {
  std::vector<InstanceId> found;
  std::vector<std::string> missing;
  for (const std::uint32_t number : numbers) {
    const auto rows = tx.exec_params(
        "SELECT id FROM instances WHERE fleet_id = ANY($1::uuid[]) AND instance_num = $2"
        " AND status <> 'terminated'",
        db::IdArray(fleets),
        number);
    for (const auto& row : rows) found.emplace_back(db::Text(row["id"]));
    if (rows.empty()) missing.push_back(std::to_string(number));
  }
  if (!missing.empty() && !allow_missing) return InstanceNotFound(absl::StrJoin(missing, ", "));
  return found;
}

}  // namespace

absl::StatusOr<std::vector<Fleet>> PostgresFleetStore::FleetsFromRows(pqxx::work& tx,
                                                                      const pqxx::result& rows) {
  std::vector<Fleet> fleets;
  std::vector<FleetId> ids;
  for (const auto& row : rows) {
    Fleet fleet;
    fleet.id = FleetId(db::Text(row["id"]));
    fleet.project_id = ProjectId(db::Text(row["project_id"]));
    fleet.project_name = db::Text(row["project_name"]);
    fleet.name = db::Text(row["name"]);
    ASSIGN_OR_RETURN(const std::string spec,
                     context_.box.Open(db::Blob(row["spec"]), FleetSpecPlace(fleet.id)));
    if (!fleet.spec.ParseFromString(spec)) {
      return base::Internal(FleetSpecPlace(fleet.id) + ": not a FleetSpec");
    }
    fleet.status = FromWord<api::v1::FleetStatus>(db::TextView(row["status"]));
    fleet.status_message = db::Text(row["status_message"]);
    fleet.created_at = db::EpochTime(row["created_at"]);
    fleet.version = db::As<std::uint64_t>(row["version"]);
    ids.push_back(fleet.id);
    fleets.push_back(std::move(fleet));
  }
  const auto instance_rows = tx.exec_params(
      std::string(kSelectInstance) +
          "WHERE i.fleet_id = ANY($1::uuid[]) AND i.status <> 'terminated' ORDER BY i.instance_num",
      db::IdArray(ids));
  ASSIGN_OR_RETURN(std::vector<Instance> instances, InstancesFromRows(instance_rows));
  std::map<FleetId, std::vector<Instance>> by_fleet;
  for (Instance& instance : instances) by_fleet[instance.fleet_id].push_back(std::move(instance));
  for (Fleet& fleet : fleets) fleet.instances = std::move(by_fleet[fleet.id]);
  return fleets;
}

absl::StatusOr<Fleet> PostgresFleetStore::LoadInside(pqxx::work& tx, const FleetId& id) {
  const auto rows = tx.exec_params(std::string(kSelectFleet) + "WHERE f.id = $1", id.str());
  if (rows.empty()) return FleetNotFound(id.str());
  ASSIGN_OR_RETURN(auto fleets, FleetsFromRows(tx, rows));
  return std::move(fleets.front());
}

void PostgresFleetStore::WriteKeys(pqxx::work& tx,
                                   const FleetId& fleet,
                                   const api::v1::FleetSpec& spec) {
  for (const auto& [name, key] : spec.ssh_keys()) {
    const std::string clean = db::CleanText(name);
    tx.exec_params0(
        "INSERT INTO fleet_keys (fleet_id, name, private_key) VALUES ($1, $2, $3)"
        " ON CONFLICT (fleet_id, name) DO UPDATE SET private_key = excluded.private_key",
        fleet.str(),
        clean,
        db::Bytes(context_.box.Seal(key, FleetKeyPlace(fleet, clean))));
  }
}

absl::StatusOr<Fleet> PostgresFleetStore::CreateFleet(pqxx::work& tx,
                                                      const FleetChange& change,
                                                      const FleetId& id,
                                                      TimePoint now) {
  Fleet fleet;
  fleet.id = id;
  fleet.project_id = change.project_id;
  fleet.name = change.name;
  for (int attempt = 0; fleet.name.empty(); ++attempt) {
    const std::string name = RandomPair(random_);
    if (LiveFleet(tx, change.project_id, name).empty() || attempt == kNameAttempts) {
      fleet.name = name;
    }
  }
  const std::string current = LiveFleet(tx, change.project_id, fleet.name);
  if (change.expected_current_fleet_id && *change.expected_current_fleet_id != current) {
    return ChangedSincePlan(fleet.name);
  }
  if (!current.empty()) return base::AlreadyExists("NAME_TAKEN", "fleet", fleet.name);
  fleet.spec = WithoutKeys(change.spec);
  fleet.spec.mutable_configuration()->set_name(fleet.name);
  tx.exec_params0(
      "INSERT INTO fleets (id, project_id, user_id, name, spec, status, created_at)"
      " VALUES ($1, $2, $3, $4, $5, 'active', $6)",
      fleet.id.str(),
      fleet.project_id.str(),
      change.user_id.str(),
      fleet.name,
      db::Bytes(context_.box.Seal(fleet.spec.SerializeAsString(), FleetSpecPlace(fleet.id))),
      db::Time(now));
  return fleet;
}

absl::StatusOr<Fleet> PostgresFleetStore::ChangeFleet(pqxx::work& tx, const FleetChange& change) {
  Fleet fleet;
  fleet.id = *change.fleet_id;
  fleet.project_id = change.project_id;
  fleet.name = change.name;
  const auto rows = tx.exec_params(
      "SELECT name, status FROM fleets WHERE id = $1 AND project_id = $2 FOR NO KEY UPDATE",
      fleet.id.str(),
      fleet.project_id.str());
  const bool is_active = !rows.empty() && db::TextView(rows[0]["status"]) == "active";
  const bool is_expected = !change.expected_current_fleet_id ||
                           *change.expected_current_fleet_id == change.fleet_id->str();
  if (!is_active || !is_expected) return ChangedSincePlan(change.name);
  fleet.name = db::Text(rows[0]["name"]);
  fleet.spec = WithoutKeys(change.spec);
  fleet.spec.mutable_configuration()->set_name(fleet.name);
  tx.exec_params0(
      "UPDATE fleets SET spec = $2, version = version + 1 WHERE id = $1",
      fleet.id.str(),
      db::Bytes(context_.box.Seal(fleet.spec.SerializeAsString(), FleetSpecPlace(fleet.id))));
  return fleet;
}

absl::StatusOr<Fleet> PostgresFleetStore::ApplyInside(pqxx::work& tx,
                                                      const FleetChange& change,
                                                      TimePoint now) {
  const FleetId id = change.fleet_id.value_or(FleetId(context_.ids.NewId()));
  ASSIGN_OR_RETURN(
      const auto first,
      RecordRequest(tx,
                    {change.project_id, change.user_id, change.request_id, change.request_digest},
                    id.str()));
  if (first) return LoadInside(tx, FleetId(*first));
  Outbox outbox;
  // Instances before fleets, as everywhere.
  RETURN_IF_ERROR(GiveUpHosts(tx, change.removed, outbox));
  ASSIGN_OR_RETURN(const Fleet fleet,
                   change.fleet_id ? ChangeFleet(tx, change) : CreateFleet(tx, change, id, now));
  WriteKeys(tx, fleet.id, change.spec);
  RETURN_IF_ERROR(CheckHostsAreFree(tx, change.project_id, change.added));
  InsertHosts(tx, fleet, change.added, now, outbox);
  outbox.AddEvent(change.project_id,
                  {"fleet", fleet.id.str(), fleet.name},
                  change.fleet_id ? "fleet changed" : "fleet created",
                  change.user_id);
  outbox.Notify(channel::kWork, "jobs");
  outbox.Flush(tx, now);
  return LoadInside(tx, fleet.id);
}

absl::StatusOr<Fleet> PostgresFleetStore::Apply(const FleetChange& change, TimePoint now) {
  return Transact(context_, [&](pqxx::work& tx) { return ApplyInside(tx, change, now); });
}

absl::StatusOr<Fleet> PostgresFleetStore::Load(const ProjectId& project,
                                               const std::string& name,
                                               const std::string& id) {
  const bool by_name = !name.empty();
  if (!by_name && !base::IsUuid(id)) return FleetNotFound(id);
  return Transact(context_, [&](pqxx::work& tx) -> absl::StatusOr<Fleet> {
    const auto rows =
        tx.exec_params(std::string(kSelectFleet) + "WHERE f.project_id = $1 AND " +
                           (by_name ? "f.name = $2 AND f.status <> 'terminated'" : "f.id = $2"),
                       project.str(),
                       by_name ? db::CleanText(name) : id);
    if (rows.empty()) return FleetNotFound(by_name ? name : id);
    ASSIGN_OR_RETURN(auto fleets, FleetsFromRows(tx, rows));
    return std::move(fleets.front());
  });
}

absl::StatusOr<FleetStore::Page> PostgresFleetStore::List(const ProjectId& project,
                                                          std::uint32_t page_size,
                                                          const std::string& page_token) {
  std::vector<std::string> after = {""};
  if (!page_token.empty()) {
    ASSIGN_OR_RETURN(after, DecodePageToken(page_token, 1));
  }
  return Transact(context_, [&](pqxx::work& tx) -> absl::StatusOr<Page> {
    const auto rows =
        tx.exec_params(std::string(kSelectFleet) +
                           "WHERE f.project_id = $1 AND f.status <> 'terminated' AND f.name > $2"
                           " ORDER BY f.name LIMIT $3",
                       project.str(),
                       after[0],
                       page_size + 1);
    Page page;
    ASSIGN_OR_RETURN(page.fleets, FleetsFromRows(tx, rows));
    if (page.fleets.size() > page_size) {
      page.fleets.pop_back();
      page.next_page_token = EncodePageToken({page.fleets.back().name});
    }
    return page;
  });
}

absl::Status PostgresFleetStore::DeleteInside(pqxx::work& tx,
                                              const ProjectId& project,
                                              const std::vector<std::string>& names,
                                              const std::vector<std::uint32_t>& instance_nums,
                                              bool allow_missing,
                                              Outbox& outbox) {
  ASSIGN_OR_RETURN(const std::vector<FleetId> fleets, FindLive(tx, project, names, allow_missing));
  if (!instance_nums.empty()) {
    ASSIGN_OR_RETURN(const auto hosts, FindHosts(tx, fleets, instance_nums, allow_missing));
    return GiveUpHosts(tx, hosts, outbox);
  }
  RETURN_IF_ERROR(GiveUpHosts(tx, LiveHosts(tx, fleets), outbox));
  const auto rows = tx.exec_params(
      "UPDATE fleets SET status = 'terminating', version = version + 1 WHERE id IN"
      " (SELECT id FROM fleets WHERE id = ANY($1::uuid[]) ORDER BY id FOR NO KEY UPDATE)"
      " AND status = 'active' RETURNING id, name",
      db::IdArray(fleets));
  // Hosts that were added before the fleets were locked.
  RETURN_IF_ERROR(GiveUpHosts(tx, LiveHosts(tx, fleets), outbox));
  for (const auto& row : rows) {
    outbox.AddEvent(
        project, {"fleet", db::Text(row["id"]), db::Text(row["name"])}, "fleet is being removed");
    EndFleetIfEmpty(tx, FleetId(db::Text(row["id"])), outbox);
  }
  return absl::OkStatus();
}

absl::Status PostgresFleetStore::Delete(const ProjectId& project,
                                        const std::vector<std::string>& names,
                                        const std::vector<std::uint32_t>& instance_nums,
                                        bool allow_missing,
                                        TimePoint now) {
  return Transact(context_, [&](pqxx::work& tx) -> absl::Status {
    Outbox outbox;
    RETURN_IF_ERROR(DeleteInside(tx, project, names, instance_nums, allow_missing, outbox));
    outbox.Flush(tx, now);
    return absl::OkStatus();
  });
}

absl::StatusOr<bool> PostgresFleetStore::HasAny(const ProjectId& project) {
  return Transact(context_, [&](pqxx::work& tx) -> absl::StatusOr<bool> {
    const auto rows = tx.exec_params(
        "SELECT EXISTS (SELECT FROM fleets WHERE project_id = $1 AND status <> 'terminated')",
        project.str());
    return db::Bool(rows[0][0]);
  });
}

}  // namespace dstack::server
