#include "clients/cli/commands/delete.h"

#include <memory>
#include <variant>

#include <fmt/format.h>

#include "clients/cli/commands/document_file.h"
#include "clients/cli/commands/fleet_commands.h"
#include "libs/base/macros.h"
#include "libs/base/status.h"

namespace dstack::cli {
namespace {

std::string NameOf(const DocumentFile& document) {
  return std::visit([](const auto& configuration) { return configuration.name(); },
                    document.configuration);
}

absl::StatusOr<int> DeleteWholeFleet(const Context& context,
                                     const std::string& project,
                                     const std::string& name) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Connection> connection, context.Connect(project));
  ASSIGN_OR_RETURN(const api::v1::Fleet fleet, FetchFleet(*connection, name, ""));
  Interrupts interrupts(/*exit_code=*/0);
  const absl::Status deleted = DeleteFleetAndWait(*connection, fleet, interrupts);
  // It ends by itself.
  if (absl::IsCancelled(deleted)) return 0;
  RETURN_IF_ERROR(deleted);
  context.terminal.PrintLine(fmt::format("Fleet {} deleted", name));
  return 0;
}

}  // namespace

absl::StatusOr<int> Delete(const Context& context, const DeleteOptions& options) {
  if (options.file == "-" && !options.yes) {
    return base::Invalid("-f -: standard input cannot hold the file and the answer; use -y");
  }
  ASSIGN_OR_RETURN(const DocumentFile document, LoadDocument(context, options.file));
  const std::string name = NameOf(document);
  if (name.empty()) {
    return base::Invalid(
        fmt::format("{}: name: is required to delete what it describes", document.shown_path));
  }
  if (!std::holds_alternative<config::v1::FleetConfiguration>(document.configuration)) {
    return DeleteRuns(context, {.project = options.project, .names = {name}, .yes = options.yes});
  }
  ASSIGN_OR_RETURN(const bool is_confirmed,
                   context.Confirm(fmt::format("Delete the fleet {}?", name), options.yes));
  if (!is_confirmed) return 0;
  return DeleteWholeFleet(context, options.project, name);
}

absl::StatusOr<int> DeleteRuns(const Context& context, const DeleteRunsOptions& options) {
  const std::string question = options.names.size() == 1
                                   ? fmt::format("Delete the run {}?", options.names[0])
                                   : fmt::format("Delete {} runs?", options.names.size());
  ASSIGN_OR_RETURN(const bool is_confirmed, context.Confirm(question, options.yes));
  if (!is_confirmed) return 0;
  ASSIGN_OR_RETURN(const std::unique_ptr<Connection> connection, context.Connect(options.project));
  api::v1::DeleteRunsRequest request;
  request.set_project_name(connection->project());
  for (const std::string& name : options.names) request.add_run_names(name);
  RETURN_IF_ERROR(
      connection->Call(connection->runs(), &api::v1::RunService::Stub::DeleteRuns, request)
          .status());
  for (const std::string& name : options.names) {
    context.terminal.PrintLine(fmt::format("Run {} deleted", name));
  }
  return 0;
}

}  // namespace dstack::cli
