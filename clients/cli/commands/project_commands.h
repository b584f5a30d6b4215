// `project list`, `add`, `set-default`, `delete`: the client's own list of projects.
#pragma once

#include <string>

#include <absl/status/statusor.h>

#include "clients/cli/commands/context.h"

namespace dstack::cli {

struct ListProjectsOptions {
  // Asks each server who the token belongs to.
  bool verbose = false;
};
absl::StatusOr<int> ListProjects(const Context& context, const ListProjectsOptions& options);

struct AddProjectOptions {
  std::string name;
  std::string url;
  std::string token;
  bool yes = false;
  bool no = false;
};
// Calls the server before anything is stored.
absl::StatusOr<int> AddProject(const Context& context, const AddProjectOptions& options);

absl::StatusOr<int> SetDefault(const Context& context, const std::string& name);

struct DeleteProjectOptions {
  std::string name;
  bool yes = false;
};
absl::StatusOr<int> DeleteProject(const Context& context, const DeleteProjectOptions& options);

}  // namespace dstack::cli
