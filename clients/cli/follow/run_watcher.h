// Sees every state of a run until it is final.
#pragma once

#include <functional>
#include <string>

#include <absl/status/status.h>

#include "dstack/api/v1/run.pb.h"

#include "clients/cli/follow/reconnect.h"
#include "clients/cli/follow/stopper.h"
#include "clients/cli/session/connection.h"

namespace dstack::cli {

// Calls `on_run` with the run now and after each change, and returns OK after the final state. A
// stream that breaks is opened again after the last version seen. Errors: of the server, CANCELLED
// when stopped. Blocks; the references outlive the call.
absl::Status WatchRun(Connection& connection,
                      const std::string& run_id,
                      const std::function<void(api::v1::Run)>& on_run,
                      Reconnect& reconnect,
                      Stopper& stopper);

}  // namespace dstack::cli
