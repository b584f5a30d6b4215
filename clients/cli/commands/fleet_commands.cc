#include "clients/cli/commands/fleet_commands.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include <fmt/format.h>

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

absl::StatusOr<int> WatchFleets(const Context& context, Connection& connection, bool is_verbose) {
  Interrupts interrupts(/*exit_code=*/0);
  interrupts.Collect(true);
  std::string last;
  while (true) {
    ASSIGN_OR_RETURN(const std::vector<Fleet> fleets, FetchFleets(connection));
    const std::string text = RenderFleets(fleets, is_verbose, context.terminal.MessageScreen());
    const auto lines = std::count(last.begin(), last.end(), '\n');
    if (context.terminal.is_output_tty()) {
      if (lines > 0) context.terminal.Print(fmt::format("\x1b[{}A\x1b[J", lines));
      context.terminal.Print(text);
    } else if (text != last) {
      context.terminal.Print(text);
    }
    last = text;
    if (interrupts.Wait(kWatchInterval) == Interrupts::Woken::kInterrupt) return 0;
  }
}

absl::Status RefuseImported(const std::string& name) {
  if (name.find('/') == std::string::npos) return absl::OkStatus();
  return base::Invalid(
      fmt::format("Fleet {} belongs to another project and can be deleted only there", name));
}

std::string DeleteQuestion(const DeleteFleetOptions& options) {
  if (options.instances.empty()) return fmt::format("Delete the fleet {}?", options.name);
  std::string numbers;
  for (const uint32_t number : options.instances) {
    numbers += fmt::format("{}{}", numbers.empty() ? "" : ", ", number);
  }
  return fmt::format("Delete instances {} of the fleet {}?", numbers, options.name);
}

}  // namespace

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

absl::StatusOr<int> ListFleets(const Context& context, const ListFleetsOptions& options) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Connection> connection, context.Connect(options.project));
  if (options.watch) return WatchFleets(context, *connection, options.verbose);
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
