#include "clients/cli/commands/metrics_command.h"

#include <chrono>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "clients/cli/commands/run_commands.h"
#include "clients/cli/commands/watch_screen.h"
#include "clients/cli/render/usage_chart.h"
#include "libs/base/macros.h"
#include "libs/base/status.h"

namespace dstack::cli {
namespace {

// A point comes every ten seconds; an hour of them is 360.
constexpr uint32_t kMaxPoints = 1000;
constexpr std::chrono::seconds kInterval{10};

bool IsMeant(const api::v1::Job& job, const MetricsOptions& options) {
  return (!options.replica || job.replica_num() == *options.replica) &&
         (!options.job || job.job_num() == *options.job);
}

absl::Status NoSuchJob(const MetricsOptions& options) {
  std::string text = fmt::format("Run {} has no", options.name);
  if (options.job) text += fmt::format(" job {}", *options.job);
  if (options.job && options.replica) text += " of";
  if (options.replica) text += fmt::format(" replica {}", *options.replica);
  return base::Invalid(text);
}

absl::StatusOr<std::vector<JobUsage>> FetchUsage(Connection& connection,
                                                 const api::v1::Run& run,
                                                 const MetricsOptions& options) {
  std::vector<JobUsage> jobs;
  for (const api::v1::Job& job : run.jobs()) {
    if (!IsMeant(job, options)) continue;
    api::v1::GetJobMetricsRequest request;
    request.set_project_name(connection.project());
    request.set_run_name(options.name);
    request.set_replica_num(job.replica_num());
    request.set_job_num(job.job_num());
    request.mutable_window()->set_limit(kMaxPoints);
    JobUsage& usage = jobs.emplace_back();
    usage.replica_num = job.replica_num();
    usage.job_num = job.job_num();
    ASSIGN_OR_RETURN(
        usage.metrics,
        connection.Call(
            connection.metrics(), &api::v1::MetricsService::Stub::GetJobMetrics, request));
  }
  if (jobs.empty()) return NoSuchJob(options);
  return jobs;
}

absl::StatusOr<std::string> RenderUsage(const Context& context,
                                        Connection& connection,
                                        const MetricsOptions& options) {
  ASSIGN_OR_RETURN(const api::v1::Run run, FetchRun(connection, options.name, ""));
  ASSIGN_OR_RETURN(const std::vector<JobUsage> jobs, FetchUsage(connection, run, options));
  const std::string chart =
      UsageChart(jobs, {.is_live = !run.has_finished_at()}, context.terminal.MessageScreen());
  if (!chart.empty()) return chart;
  return fmt::format(
      "No metrics of the run {} {}\n", options.name, run.has_finished_at() ? "are kept" : "yet");
}

}  // namespace

absl::StatusOr<int> Metrics(const Context& context, const MetricsOptions& options) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Connection> connection, context.Connect(options.project));
  if (options.watch) {
    return WatchScreen(
        context, kInterval, [&] { return RenderUsage(context, *connection, options); });
  }
  ASSIGN_OR_RETURN(const std::string text, RenderUsage(context, *connection, options));
  context.terminal.Print(text);
  return 0;
}

}  // namespace dstack::cli
