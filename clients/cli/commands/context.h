// What every command gets.
#pragma once

#include <memory>
#include <string>

#include <absl/status/statusor.h>

#include "clients/cli/session/connection.h"
#include "clients/cli/session/environment.h"
#include "clients/cli/session/interrupts.h"
#include "clients/cli/session/project_store.h"
#include "clients/cli/session/terminal.h"

namespace dstack::cli {

// References outlive the command. A command returns the exit code of the program, or an error that
// is printed and means 1.
struct Context {
  const Environment& environment;
  const ProjectStore& store;
  Terminal& terminal;

  // The connection that --project, the environment and the project file lead to.
  absl::StatusOr<std::unique_ptr<Connection>> Connect(const std::string& project_flag) const;

  // Asks unless `is_yes`. An error says that the person broke the question off.
  absl::StatusOr<bool> Confirm(const std::string& question, bool is_yes) const;
};

}  // namespace dstack::cli
