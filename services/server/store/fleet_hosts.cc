#include "services/server/store/fleet_hosts.h"

#include <optional>

#include "absl/strings/str_join.h"
#include "fmt/format.h"
#include "libs/base/status.h"
#include "libs/db/params.h"
#include "libs/db/rows.h"
#include "services/server/ports/notifications.h"

namespace dstack::server {
namespace {

std::string JumpHostname(const NewHost& host) { return host.jump ? host.jump->hostname : ""; }

// Lowest number that is not in `taken`, which gets it.
std::uint32_t TakeLowest(std::set<std::uint32_t>& taken) {
  std::uint32_t number = 0;
  while (taken.contains(number)) ++number;
  taken.insert(number);
  return number;
}

void InsertHost(
    pqxx::work& tx, const Fleet& fleet, const NewHost& host, std::uint32_t number, TimePoint now) {
  const NewHost::Jump jump = host.jump.value_or(NewHost::Jump{});
  tx.exec_params0(
      "INSERT INTO instances (id, project_id, fleet_id, instance_num, name, status, hostname, port,"
      " ssh_user, identity_key_name, internal_ip, jump_hostname, jump_port, jump_user,"
      " jump_key_name, jump_host_key, host_key, wanted_blocks, total_blocks, created_at)"
      " VALUES ($1, $2, $3, $4, $5, 'pending', $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16,"
      " $17, $18, $19)",
      host.id.str(),
      fleet.project_id.str(),
      fleet.id.str(),
      number,
      fmt::format("{}-{}", fleet.name, number),
      db::CleanText(host.hostname),
      host.port,
      db::CleanText(host.user),
      db::CleanText(host.identity_key_name),
      db::CleanText(host.internal_ip),
      db::CleanText(jump.hostname),
      jump.port,
      db::CleanText(jump.user),
      db::CleanText(jump.identity_key_name),
      db::CleanText(jump.host_key),
      db::CleanText(host.host_key),
      host.blocks,
      host.blocks == 0 ? 1 : host.blocks,
      db::Time(now));
}

}  // namespace

absl::Status CheckHostsAreFree(pqxx::work& tx,
                               const ProjectId& project,
                               const std::vector<NewHost>& hosts) {
  std::vector<std::string> names;
  std::vector<std::string> ports;
  std::vector<std::string> jumps;
  for (const NewHost& host : hosts) {
    names.push_back(db::CleanText(host.hostname));
    ports.push_back(std::to_string(host.port));
    jumps.push_back(db::CleanText(JumpHostname(host)));
  }
  const auto rows = tx.exec_params(
      "SELECT i.hostname, i.port, i.status, i.project_id, f.name AS fleet_name"
      " FROM unnest($1::text[], $2::integer[], $3::text[]) AS n (hostname, port, jump_hostname)"
      " JOIN instances i USING (hostname, port, jump_hostname)"
      " JOIN fleets f ON f.id = i.fleet_id WHERE i.status <> 'terminated' LIMIT 1",
      db::ArrayLiteral(names),
      db::ArrayLiteral(ports),
      db::ArrayLiteral(jumps));
  if (rows.empty()) return absl::OkStatus();
  const std::string host =
      fmt::format("{}:{}", db::Text(rows[0]["hostname"]), db::Text(rows[0]["port"]));
  // The fleets of other projects are nobody's business.
  std::string holder = "is in use already";
  if (db::Text(rows[0]["project_id"]) == project.str()) {
    const bool is_leaving = db::TextView(rows[0]["status"]) == "terminating";
    holder = fmt::format("{} fleet '{}'",
                         is_leaving ? "is still being removed from" : "belongs to",
                         db::Text(rows[0]["fleet_name"]));
  }
  return base::Error(absl::StatusCode::kAlreadyExists,
                     "NAME_TAKEN",
                     fmt::format("host {} {}", host, holder),
                     {{"host", host}});
}

void InsertHosts(pqxx::work& tx,
                 const Fleet& fleet,
                 const std::vector<NewHost>& hosts,
                 TimePoint now,
                 Outbox& outbox) {
  if (hosts.empty()) return;
  std::set<std::uint32_t> taken;
  for (const auto& row : tx.exec_params(
           "SELECT instance_num FROM instances WHERE fleet_id = $1 AND status <> 'terminated'",
           fleet.id.str())) {
    taken.insert(db::As<std::uint32_t>(row["instance_num"]));
  }
  for (const NewHost& host : hosts) {
    const std::uint32_t number = TakeLowest(taken);
    InsertHost(tx, fleet, host, number, now);
    outbox.AddEvent(fleet.project_id,
                    {"instance", host.id.str(), fmt::format("{}-{}", fleet.name, number)},
                    "instance added");
  }
  outbox.Notify(channel::kHost, "claim");
}

absl::Status GiveUpHosts(pqxx::work& tx, const std::vector<InstanceId>& ids, Outbox& outbox) {
  if (ids.empty()) return absl::OkStatus();
  // After this no job can be assigned to them, and those that were are visible below.
  tx.exec_params("SELECT FROM instances WHERE id = ANY($1::uuid[]) ORDER BY id FOR NO KEY UPDATE",
                 db::IdArray(ids));
  std::vector<std::string> runs;
  for (const auto& row : tx.exec_params(
           "SELECT DISTINCT r.name FROM jobs j JOIN runs r ON r.id = j.run_id"
           " WHERE j.instance_id = ANY($1::uuid[]) AND NOT j.is_released"
           " AND j.status NOT IN ('terminated', 'aborted', 'failed', 'done') ORDER BY r.name",
           db::IdArray(ids))) {
    runs.push_back(db::Text(row["name"]));
  }
  if (!runs.empty()) {
    return base::Error(
        absl::StatusCode::kFailedPrecondition,
        "RESOURCE_BUSY",
        fmt::format("in use by the runs {}: stop them first", absl::StrJoin(runs, ", ")),
        {{"runs", absl::StrJoin(runs, ",")}});
  }
  for (const auto& row : tx.exec_params(
           "UPDATE instances SET status = 'terminating', termination_reason = 'terminated_by_user',"
           " status_message = 'being removed' WHERE id = ANY($1::uuid[])"
           " AND status NOT IN ('terminating', 'terminated') RETURNING id, project_id, name",
           db::IdArray(ids))) {
    outbox.AddEvent(ProjectId(db::Text(row["project_id"])),
                    {"instance", db::Text(row["id"]), db::Text(row["name"])},
                    "instance is being removed");
    outbox.Notify(channel::kHost, db::Text(row["id"]));
  }
  outbox.Notify(channel::kHost, "claim");
  outbox.Notify(channel::kWork, "jobs");
  return absl::OkStatus();
}

}  // namespace dstack::server
