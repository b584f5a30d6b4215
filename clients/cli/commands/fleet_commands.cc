#include "clients/cli/commands/fleet_commands.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include <fmt/format.h>

#include "clients/cli/commands/watch_screen.h"
#include "clients/cli/render/fleet_table.h"
#include "clients/cli/render/json.h"
#include "libs/base/macros.h"
#include "libs/base/status.h"

namespace dstack::cli {
namespace {

using api::v1::Fleet;
using FleetStub = api::v1::FleetService::Stub;

// No call streams a list of fleets.
constexpr std::chrono::seconds kWatchInterval{2};
// Nor the end of one.
constexpr std::chrono::milliseconds kDeleteInterval{200};

absl::StatusOr<std::vector<Fleet>> FetchFleets(Connection& connection) {
  std::vector<Fleet> fleets;
  api::v1::ListFleetsRequest request;
  request.set_project_name(connection.project());
  while (true) {
    ASSIGN_OR_RETURN(api::v1::ListFleetsResponse response,
                     connection.Call(connection.fleets(), &FleetStub::ListFleets, request));
    for (Fleet& fleet : *response.mutable_fleets()) fleets.push_back(std::move(fleet));
    if (response.next_page_token().empty()) return fleets;
    request.set_page_token(response.next_page_token());
  }
}

std::string RenderFleets(const std::vector<Fleet>& fleets, bool is_verbose, const Screen& screen) {
  const FleetTableOptions options{.is_verbose = is_verbose,
                                  .now = std::chrono::system_clock::now()};
  return FleetTable(fleets, options).Render(screen);
}

absl::Status RefuseImported(const std::string& name) {
  if (name.find('/') == std::string::npos) return absl::OkStatus();
  return base::Invalid(
      fmt::format("Fleet {} belongs to another project and can be changed only there", name));
}

std::string DeleteQuestion(const DeleteFleetOptions& options) {
  if (options.instances.empty()) return fmt::format("Delete the fleet {}?", options.name);
  std::string numbers;
  for (const uint32_t number : options.instances) {
    numbers += fmt::format("{}{}", numbers.empty() ? "" : ", ", number);
  }
  return fmt::format("Delete instances {} of the fleet {}?", numbers, options.name);
}

// The instances that are meant, in the order of the numbers given. Errors name what is not there.
absl::StatusOr<std::vector<api::v1::Instance>> SelectInstances(const Fleet& fleet,
                                                               const std::vector<uint32_t>& nums) {
  if (nums.empty()) return std::vector(fleet.instances().begin(), fleet.instances().end());
  std::vector<api::v1::Instance> selected;
  for (const uint32_t num : nums) {
    const auto found = std::find_if(
        fleet.instances().begin(), fleet.instances().end(), [num](const auto& instance) {
          return instance.instance_num() == num;
        });
    if (found == fleet.instances().end()) {
      return base::Invalid(fmt::format("Fleet {} has no instance {}", fleet.name(), num));
    }
    selected.push_back(*found);
  }
  return selected;
}

std::string DrainLine(const api::v1::Instance& instance) {
  if (!instance.has_drain()) return fmt::format("Instance {} takes jobs", instance.name());
  const bool is_used = instance.busy_blocks() > 0;
  return fmt::format("Instance {} takes no new jobs; {}",
                     instance.name(),
                     is_used ? "those on it go on" : "nothing runs on it");
}

absl::StatusOr<int> SetDrain(const Context& context,
                             const DrainFleetOptions& options,
                             bool is_draining) {
  RETURN_IF_ERROR(RefuseImported(options.name));
  ASSIGN_OR_RETURN(const std::unique_ptr<Connection> connection, context.Connect(options.project));
  ASSIGN_OR_RETURN(const Fleet fleet, FetchFleet(*connection, options.name, ""));
  ASSIGN_OR_RETURN(const auto instances, SelectInstances(fleet, options.instances));
  for (const api::v1::Instance& instance : instances) {
    api::v1::SetInstanceDrainRequest request;
    request.set_project_name(connection->project());
    request.set_instance_id(instance.id());
    request.set_is_draining(is_draining);
    request.set_reason(options.reason);
    ASSIGN_OR_RETURN(
        const api::v1::SetInstanceDrainResponse response,
        connection->Call(
            connection->instances(), &api::v1::InstanceService::Stub::SetInstanceDrain, request));
    context.terminal.PrintLine(DrainLine(response.instance()));
  }
  return 0;
}

}  // namespace

absl::StatusOr<int> DrainFleet(const Context& context, const DrainFleetOptions& options) {
  return SetDrain(context, options, true);
}

absl::StatusOr<int> UndrainFleet(const Context& context, const DrainFleetOptions& options) {
  return SetDrain(context, options, false);
}

absl::StatusOr<Fleet> FetchFleet(Connection& connection,
                                 const std::string& name,
                                 const std::string& id) {
  api::v1::GetFleetRequest request;
  request.set_project_name(connection.project());
  if (name.empty()) {
    request.set_fleet_id(id);
  } else {
    request.set_fleet_name(name);
  }
  ASSIGN_OR_RETURN(api::v1::GetFleetResponse response,
                   connection.Call(connection.fleets(), &FleetStub::GetFleet, request));
  return std::move(*response.mutable_fleet());
}

absl::Status RequestFleetDelete(Connection& connection, const std::string& name) {
  api::v1::DeleteFleetsRequest request;
  request.set_project_name(connection.project());
  request.add_fleet_names(name);
  request.set_allow_missing(true);
  return connection.Call(connection.fleets(), &FleetStub::DeleteFleets, request).status();
}

absl::Status DeleteFleetAndWait(Connection& connection,
                                const Fleet& fleet,
                                Interrupts& interrupts) {
  RETURN_IF_ERROR(RequestFleetDelete(connection, fleet.name()));
  while (true) {
    const auto current = FetchFleet(connection, "", fleet.id());
    if (absl::IsNotFound(current.status())) return absl::OkStatus();
    if (!current.ok()) return current.status();
    if (current->status() == api::v1::FLEET_STATUS_TERMINATED) return absl::OkStatus();
    const bool was_collecting = interrupts.Collect(true);
    const auto woken = interrupts.Wait(kDeleteInterval);
    interrupts.Collect(was_collecting);
    if (woken == Interrupts::Woken::kInterrupt) return absl::CancelledError("interrupted");
  }
}

absl::StatusOr<int> ListFleets(const Context& context, const ListFleetsOptions& options) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Connection> connection, context.Connect(options.project));
  if (options.watch) {
    return WatchScreen(context, kWatchInterval, [&]() -> absl::StatusOr<std::string> {
      ASSIGN_OR_RETURN(const std::vector<Fleet> fleets, FetchFleets(*connection));
      return RenderFleets(fleets, options.verbose, context.terminal.MessageScreen());
    });
  }
  ASSIGN_OR_RETURN(const std::vector<Fleet> fleets, FetchFleets(*connection));
  if (!options.json) {
    context.terminal.Print(RenderFleets(fleets, options.verbose, context.terminal.MessageScreen()));
    return 0;
  }
  std::vector<const google::protobuf::Message*> items;
  for (const Fleet& fleet : fleets) items.push_back(&fleet);
  context.terminal.Print(ToJsonList(connection->project(), "fleets", items));
  return 0;
}

absl::StatusOr<int> GetFleet(const Context& context, const GetFleetOptions& options) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Connection> connection, context.Connect(options.project));
  ASSIGN_OR_RETURN(const Fleet fleet, FetchFleet(*connection, options.name, options.id));
  context.terminal.Print(ToJson(fleet));
  return 0;
}

absl::StatusOr<int> DeleteFleet(const Context& context, const DeleteFleetOptions& options) {
  RETURN_IF_ERROR(RefuseImported(options.name));
  ASSIGN_OR_RETURN(const bool is_confirmed, context.Confirm(DeleteQuestion(options), options.yes));
  if (!is_confirmed) return 0;
  ASSIGN_OR_RETURN(const std::unique_ptr<Connection> connection, context.Connect(options.project));
  api::v1::DeleteFleetsRequest request;
  request.set_project_name(connection->project());
  request.add_fleet_names(options.name);
  for (const uint32_t number : options.instances) request.add_instance_nums(number);
  RETURN_IF_ERROR(
      connection->Call(connection->fleets(), &FleetStub::DeleteFleets, request).status());
  context.terminal.PrintLine(options.instances.empty()
                                 ? fmt::format("Fleet {} deleted", options.name)
                                 : fmt::format("Instances of {} deleted", options.name));
  return 0;
}

}  // namespace dstack::cli
