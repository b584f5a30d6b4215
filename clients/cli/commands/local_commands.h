// `dstack server`: becomes the server.
#pragma once

#include <string>
#include <vector>

#include <absl/status/status.h>

namespace dstack::cli {

// Becomes `dstack-server` (beside this program, else from PATH) with these arguments. Returns only
// when that failed.
absl::Status ExecServer(const std::vector<std::string>& arguments);

}  // namespace dstack::cli
