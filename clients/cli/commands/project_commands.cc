#include "clients/cli/commands/project_commands.h"

#include <utility>

#include <fmt/format.h>

#include "libs/base/macros.h"
#include "libs/base/status.h"
#include "libs/config/names.h"

namespace dstack::cli {
namespace {

using config::v1::ClientConfig;
using config::v1::ClientProject;

std::string UserText(const ClientProject& project) {
  const auto connection =
      Connection::Open({project.url(), base::Secret(project.token()), project.name()});
  if (!connection.ok()) return "(invalid URL)";
  const auto response = (*connection)
                            ->Call((*connection)->users(),
                                   &api::v1::UserService::Stub::GetMyUser,
                                   api::v1::GetMyUserRequest(),
                                   std::chrono::seconds(5));
  if (response.ok()) return response->user().name();
  return absl::IsUnauthenticated(response.status()) ? "(invalid token)" : "(no answer)";
}

// A wrong URL, token or project is found here and not at the next command.
absl::Status Check(const ClientProject& project) {
  ASSIGN_OR_RETURN(
      const std::unique_ptr<Connection> connection,
      Connection::Open({project.url(), base::Secret(project.token()), project.name()}));
  api::v1::GetProjectRequest request;
  request.set_project_name(project.name());
  return connection
      ->Call(connection->projects(), &api::v1::ProjectService::Stub::GetProject, request)
      .status();
}

// -y and -n answer; otherwise the question is asked when another project is the default.
absl::StatusOr<bool> WantsDefault(const Context& context,
                                  const ClientConfig& config,
                                  const AddProjectOptions& options) {
  const ClientProject* current = DefaultProject(config);
  if (current == nullptr) return true;
  if (current->name() == options.name || options.yes) return options.yes;
  if (options.no || !context.terminal.can_ask()) return false;
  return context.Confirm(fmt::format("Set {} as your default project?", options.name), false);
}

}  // namespace

absl::StatusOr<int> ListProjects(const Context& context, const ListProjectsOptions& options) {
  ASSIGN_OR_RETURN(const ClientConfig config, context.store.Load());
  std::vector<Column> columns{{"PROJECT"}, {"URL", true}};
  if (options.verbose) columns.push_back({"USER"});
  columns.push_back({"DEFAULT"});
  Table table(std::move(columns));
  for (const ClientProject& project : config.projects()) {
    const Style style = project.is_default() ? Style::kBold : Style::kPlain;
    std::vector<Cell> row{{project.name(), style}, {project.url(), style}};
    if (options.verbose) row.push_back({UserText(project), style});
    row.push_back({project.is_default() ? "✓" : "", Style::kSuccess});
    table.AddRow(std::move(row));
  }
  context.terminal.PrintTable(table);
  return 0;
}

absl::StatusOr<int> AddProject(const Context& context, const AddProjectOptions& options) {
  if (const absl::Status rule = config::CheckProjectName(options.name); !rule.ok()) {
    return base::Invalid(fmt::format("--name: {} ({})", base::Message(rule), options.name));
  }
  ClientProject project;
  project.set_name(options.name);
  project.set_url(options.url);
  project.set_token(options.token);
  RETURN_IF_ERROR(Check(project));
  ASSIGN_OR_RETURN(ClientConfig config, context.store.Load());
  ASSIGN_OR_RETURN(const bool is_default, WantsDefault(context, config, options));
  PutProject(std::move(project), is_default, &config);
  RETURN_IF_ERROR(context.store.Save(config));
  context.terminal.PrintLine("OK");
  return 0;
}

absl::StatusOr<int> SetDefault(const Context& context, const std::string& name) {
  ASSIGN_OR_RETURN(ClientConfig config, context.store.Load());
  RETURN_IF_ERROR(SetDefaultProject(name, &config));
  RETURN_IF_ERROR(context.store.Save(config));
  context.terminal.PrintLine("OK");
  return 0;
}

absl::StatusOr<int> DeleteProject(const Context& context, const DeleteProjectOptions& options) {
  ASSIGN_OR_RETURN(ClientConfig config, context.store.Load());
  RETURN_IF_ERROR(RemoveProject(options.name, &config));
  ASSIGN_OR_RETURN(
      const bool is_confirmed,
      context.Confirm(fmt::format("Delete project {} from your list?", options.name), options.yes));
  if (!is_confirmed) return 0;
  RETURN_IF_ERROR(context.store.Save(config));
  context.terminal.PrintLine("OK");
  return 0;
}

}  // namespace dstack::cli
