#include "clients/cli/commands/run_commands.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include <fmt/format.h>

#include "clients/cli/commands/watch_screen.h"
#include "clients/cli/flags/since.h"
#include "clients/cli/follow/log_follower.h"
#include "clients/cli/render/json.h"
#include "clients/cli/render/run_table.h"
#include "libs/base/clock.h"
#include "libs/base/macros.h"
#include "libs/base/random.h"
#include "libs/base/status.h"
#include "libs/base/uuid.h"

namespace dstack::cli {
namespace {

using api::v1::Run;
using RunStub = api::v1::RunService::Stub;

// The server gives at most so many in one page.
constexpr uint32_t kPageSize = 100;
// No call streams a list of runs.
constexpr std::chrono::seconds kWatchInterval{2};

// Up to `limit` runs (0: all), newest first.
absl::StatusOr<std::vector<Run>> ListRuns(Connection& connection, bool only_active, size_t limit) {
  std::vector<Run> runs;
  api::v1::ListRunsRequest request;
  request.set_project_name(connection.project());
  request.set_only_active(only_active);
  while (true) {
    const size_t wanted = limit == 0 ? kPageSize : std::min<size_t>(kPageSize, limit - runs.size());
    request.set_page_size(static_cast<uint32_t>(wanted));
    ASSIGN_OR_RETURN(api::v1::ListRunsResponse response,
                     connection.Call(connection.runs(), &RunStub::ListRuns, request));
    for (Run& run : *response.mutable_runs()) runs.push_back(std::move(run));
    const bool is_full = limit != 0 && runs.size() >= limit;
    if (response.next_page_token().empty() || is_full) return runs;
    request.set_page_token(response.next_page_token());
  }
}

absl::StatusOr<std::vector<Run>> SelectRuns(Connection& connection, const PsOptions& options) {
  if (options.last > 0) {
    return ListRuns(connection, false, static_cast<size_t>(options.last));
  }
  if (options.all) return ListRuns(connection, false, 0);
  ASSIGN_OR_RETURN(std::vector<Run> active, ListRuns(connection, true, 0));
  if (!active.empty()) return active;
  return ListRuns(connection, false, 1);
}

std::string RenderRuns(const std::vector<Run>& runs,
                       const PsOptions& options,
                       const Screen& screen) {
  const RunTableOptions table{.is_verbose = options.verbose,
                              .now = std::chrono::system_clock::now()};
  return RunTable(runs, table).Render(screen);
}

absl::StatusOr<api::v1::StreamLogsRequest> LogsRequest(const Connection& connection,
                                                       const LogsOptions& options) {
  api::v1::StreamLogsRequest request;
  request.set_project_name(connection.project());
  request.set_run_name(options.name);
  request.set_replica_num(options.replica);
  request.set_job_num(options.job);
  request.set_source(options.diagnose ? common::v1::LOG_SOURCE_RUNNER : common::v1::LOG_SOURCE_JOB);
  // Of a job that has ended this gives what is stored, and the end.
  request.set_follow(true);
  if (options.since.empty()) return request;
  ASSIGN_OR_RETURN(*request.mutable_since(),
                   ParseSince(options.since, std::chrono::system_clock::now()));
  return request;
}

LogSink SinkOf(Terminal& terminal) {
  return {.on_bytes = [&terminal](std::string_view bytes) { return terminal.Write(bytes); },
          .on_gap =
              [&terminal](uint64_t bytes) {
                terminal.PrintWarning(
                    bytes > 0 ? fmt::format("{} bytes of output were dropped here", bytes)
                              : std::string("Some output before this is no longer stored"));
              }};
}

}  // namespace

absl::StatusOr<Run> FetchRun(Connection& connection,
                             const std::string& name,
                             const std::string& id) {
  api::v1::GetRunRequest request;
  request.set_project_name(connection.project());
  if (name.empty()) {
    request.set_run_id(id);
  } else {
    request.set_run_name(name);
  }
  ASSIGN_OR_RETURN(api::v1::GetRunResponse response,
                   connection.Call(connection.runs(), &RunStub::GetRun, request));
  return std::move(*response.mutable_run());
}

absl::StatusOr<int> Ps(const Context& context, const PsOptions& options) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Connection> connection, context.Connect(options.project));
  if (options.watch) {
    return WatchScreen(context, kWatchInterval, [&]() -> absl::StatusOr<std::string> {
      ASSIGN_OR_RETURN(const std::vector<Run> runs, SelectRuns(*connection, options));
      return RenderRuns(runs, options, context.terminal.MessageScreen());
    });
  }
  ASSIGN_OR_RETURN(const std::vector<Run> runs, SelectRuns(*connection, options));
  if (options.json) {
    std::vector<const google::protobuf::Message*> items;
    for (const Run& run : runs) items.push_back(&run);
    context.terminal.Print(ToJsonList(connection->project(), "runs", items));
  } else {
    context.terminal.Print(RenderRuns(runs, options, context.terminal.MessageScreen()));
  }
  return 0;
}

absl::StatusOr<int> GetRun(const Context& context, const GetRunOptions& options) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Connection> connection, context.Connect(options.project));
  ASSIGN_OR_RETURN(const Run run, FetchRun(*connection, options.name, options.id));
  context.terminal.Print(ToJson(run));
  return 0;
}

absl::StatusOr<int> StopRuns(const Context& context, const StopOptions& options) {
  const char* verb = options.abort ? "Abort" : "Stop";
  const std::string question = options.names.size() == 1
                                   ? fmt::format("{} the run {}?", verb, options.names[0])
                                   : fmt::format("{} {} runs?", verb, options.names.size());
  ASSIGN_OR_RETURN(const bool is_confirmed, context.Confirm(question, options.yes));
  if (!is_confirmed) return 0;
  ASSIGN_OR_RETURN(const std::unique_ptr<Connection> connection, context.Connect(options.project));
  api::v1::StopRunsRequest request;
  request.set_project_name(connection->project());
  for (const std::string& name : options.names) request.add_run_names(name);
  request.set_is_abort(options.abort);
  request.set_request_id(base::NewUuid());
  RETURN_IF_ERROR(connection->Call(connection->runs(), &RunStub::StopRuns, request).status());
  context.terminal.PrintLine(options.abort ? "Aborted" : "Stopped");
  return 0;
}

absl::StatusOr<int> Logs(const Context& context, const LogsOptions& options) {
  // Bytes go out unbuffered, so that nothing is lost by leaving at once.
  Interrupts interrupts(/*exit_code=*/0);
  ASSIGN_OR_RETURN(const std::unique_ptr<Connection> connection, context.Connect(options.project));
  ASSIGN_OR_RETURN(const api::v1::StreamLogsRequest request, LogsRequest(*connection, options));
  const base::RealClock clock;
  base::SeededRandom random;
  Stopper stopper;
  Terminal& terminal = context.terminal;
  const ReconnectListener listener{
      .on_lost =
          [&](const absl::Status& status) {
            terminal.PrintWarning(fmt::format("{}. Trying again...", base::Message(status)));
          },
      .on_restored = [&] { terminal.PrintWarning("Connected again"); },
      .wait_until_connected =
          [&](std::chrono::milliseconds timeout) {
            return connection->WaitUntilConnected(timeout);
          }};
  Reconnect reconnect(ReconnectPolicy(), listener, clock, random);
  LogFollower follower(*connection, SinkOf(terminal), reconnect, stopper);
  RETURN_IF_ERROR(follower.Follow(request));
  return 0;
}

}  // namespace dstack::cli
