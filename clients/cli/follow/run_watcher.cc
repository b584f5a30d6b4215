#include "clients/cli/follow/run_watcher.h"

#include <algorithm>
#include <utility>

#include "clients/cli/render/run_table.h"
#include "libs/base/macros.h"

namespace dstack::cli {

absl::Status WatchRun(Connection& connection,
                      const std::string& run_id,
                      const std::function<void(api::v1::Run)>& on_run,
                      Reconnect& reconnect,
                      Stopper& stopper) {
  api::v1::WatchRunRequest request;
  request.set_project_name(connection.project());
  request.set_run_id(run_id);
  bool is_final = false;
  while (true) {
    grpc::ClientContext context;
    connection.Authorise(context);
    absl::Status status;
    {
      const Stopper::Call call(stopper, context);
      const auto reader = connection.runs().WatchRun(&context, request);
      api::v1::WatchRunResponse response;
      while (reader->Read(&response)) {
        reconnect.Succeeded();
        request.set_after_version(std::max(request.after_version(), response.run().version()));
        is_final = is_final || IsFinal(response.run().status());
        on_run(std::move(*response.mutable_run()));
      }
      status = connection.FromCall(reader->Finish());
    }
    if (is_final) return absl::OkStatus();
    RETURN_IF_ERROR(reconnect.WaitAfter(
        status.ok() ? absl::UnavailableError("the watch ended early") : status, stopper));
  }
}

}  // namespace dstack::cli
