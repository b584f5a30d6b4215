// Commands that need no server: `server` starts one, `config check` reads a file.
#pragma once

#include <string>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "clients/cli/commands/context.h"

namespace dstack::cli {

// Becomes `dstack-server` (beside this program, else from PATH) with these arguments. Returns only
// when that failed.
absl::Status ExecServer(const std::vector<std::string>& arguments);

// Says whether the configuration is right, without a server; "-" is standard input.
absl::StatusOr<int> CheckConfig(const Context& context, const std::string& file);

}  // namespace dstack::cli
