#pragma once

#include <chrono>
#include <functional>
#include <string>

#include <absl/status/statusor.h>

#include "clients/cli/commands/context.h"

namespace dstack::cli {

// Shows a text again and again until Ctrl-C, which is exit code 0: on a terminal in place of the
// one before, otherwise only when it differs. An error of `render` ends it.
absl::StatusOr<int> WatchScreen(const Context& context,
                                std::chrono::milliseconds interval,
                                const std::function<absl::StatusOr<std::string>()>& render);

}  // namespace dstack::cli
