#include "services/server/usecases/fleet_usecases.h"

#include "fmt/format.h"
#include "fmt/ranges.h"
#include "libs/base/status.h"
#include "services/server/usecases/fleet_spec.h"
#include "services/server/usecases/names_list.h"
#include "services/server/usecases/request_digest.h"

namespace dstack::server {
namespace {

absl::Status NeedsNewFleet(const Fleet& fleet, const std::vector<SpecChange>& changes) {
  return base::Error(absl::StatusCode::kFailedPrecondition,
                     "INVALID_STATE",
                     fmt::format("fleet {} cannot be changed in place: {} changed; only hosts can "
                                 "come and go, delete the fleet first",
                                 fleet.name,
                                 fmt::join(FieldsOf(changes), ", ")),
                     {{"fleet_name", fleet.name}, {"from", "active"}, {"event", "update"}});
}

absl::Status ChangedSincePlan(const std::string& name) {
  return base::Error(absl::StatusCode::kAborted,
                     "CHANGED_SINCE_PLAN",
                     fmt::format("fleet {} has changed since the plan was made; plan again", name),
                     {{"fleet_name", name}});
}

// A change of one host's own settings shows as a changed list without hosts coming or going.
bool IsHostEdited(const Fleet& current, const ResolvedFleet& wanted) {
  const auto before = ResolveFleet(current.spec, false);
  if (!before.ok()) return false;
  for (const NewHost& host : wanted.hosts) {
    for (const NewHost& old : before->hosts) {
      if (host.hostname != old.hostname || host.port != old.port) continue;
      if (host.user != old.user || host.identity_key_name != old.identity_key_name ||
          host.blocks != old.blocks || host.internal_ip != old.internal_ip ||
          host.host_key != old.host_key || host.jump != old.jump) {
        return true;
      }
    }
  }
  return false;
}

}  // namespace

FleetUseCases::FleetUseCases(FleetStore& fleets, const base::Clock& clock, base::IdSource& ids)
    : fleets_(fleets), clock_(clock), ids_(ids) {}

absl::StatusOr<FleetProposal> FleetUseCases::Plan(const Project& project,
                                                  const api::v1::FleetSpec& spec) {
  ASSIGN_OR_RETURN(ResolvedFleet wanted, ResolveFleet(spec, /*needs_keys=*/false));
  FleetProposal proposal;
  ASSIGN_OR_RETURN(proposal.current_fleet, FindLive(project, wanted.spec.configuration().name()));
  if (proposal.current_fleet) {
    proposal.changes = CompareSpecs(proposal.current_fleet->spec, wanted.spec);
    proposal.is_updatable =
        IsUpdatable(proposal.changes) && !IsHostEdited(*proposal.current_fleet, wanted);
  }
  proposal.effective_spec = std::move(wanted.spec);
  proposal.effective_spec.clear_ssh_keys();
  return proposal;
}

absl::StatusOr<Fleet> FleetUseCases::Apply(const rpc::Caller& caller,
                                           const Project& project,
                                           const Application& application) {
  RETURN_IF_ERROR(CheckRequestId(application.request_id));
  ASSIGN_OR_RETURN(ResolvedFleet wanted, ResolveFleet(application.spec, /*needs_keys=*/true));
  FleetChange change;
  change.project_id = project.id;
  change.user_id = UserId(caller.identity.user_id);
  change.name = wanted.spec.configuration().name();
  change.request_id = application.request_id;
  change.request_digest = application.request_digest;
  if (!application.is_forced) change.expected_current_fleet_id = application.current_fleet_id;
  ASSIGN_OR_RETURN(const auto current, FindLive(project, change.name));
  if (current) {
    const auto changed = CompareSpecs(current->spec, wanted.spec);
    const bool is_planned =
        application.is_forced || current->id.str() == application.current_fleet_id;
    // A repeated request (same request_id) finds its own fleet here; the store then gives the first
    // answer.
    if (!is_planned && application.request_id.empty()) return ChangedSincePlan(change.name);
    if (!IsUpdatable(changed) || IsHostEdited(*current, wanted))
      return NeedsNewFleet(*current, changed);
    HostChange hosts = DiffHosts(current->instances, wanted.hosts);
    change.fleet_id = current->id;
    change.added = std::move(hosts.added);
    change.removed = std::move(hosts.removed);
  } else {
    change.added = std::move(wanted.hosts);
  }
  for (NewHost& host : change.added) host.id = InstanceId(ids_.NewId());
  change.spec = std::move(wanted.spec);
  return fleets_.Apply(change, clock_.Now());
}

absl::Status FleetUseCases::Delete(const Project& project,
                                   const std::vector<std::string>& names,
                                   const std::vector<std::uint32_t>& instance_nums,
                                   bool allow_missing) {
  ASSIGN_OR_RETURN(const auto checked, CheckNames("fleet_names", names));
  if (!instance_nums.empty() && checked.size() != 1) {
    return base::InvalidField(
        "instance_nums", fmt::format("needs exactly one fleet name; there are {}", checked.size()));
  }
  return fleets_.Delete(project.id, checked, instance_nums, allow_missing, clock_.Now());
}

absl::StatusOr<std::optional<Fleet>> FleetUseCases::FindLive(const Project& project,
                                                             const std::string& name) {
  if (name.empty()) return std::nullopt;
  auto fleet = fleets_.Load(project.id, name, "");
  if (absl::IsNotFound(fleet.status())) return std::nullopt;
  if (!fleet.ok()) return fleet.status();
  return std::optional<Fleet>(*std::move(fleet));
}

}  // namespace dstack::server
