#include <utility>
#include <variant>

#include <fcntl.h>
#include <linux/close_range.h>
#include <unistd.h>

#include "libs/telemetry/log.h"
#include "services/runner/domain/exit_outcome.h"
#include "services/runner/options.h"
#include "services/runner/repo/tool.h"
#include "services/runner/serve/app.h"
#include "services/runner/supervise/supervisor.h"

namespace dstack::runner {
namespace {

int Supervise(const SuperviseOptions& options) {
  // Whatever our parent left open must not reach the job.
  close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
  auto supervisor = Supervisor::Create(options);
  if (!supervisor.ok()) {
    telemetry::Error("runner failed", {{"error", supervisor.status()}});
    return kExitNotStarted;
  }
  return (*supervisor)->Run();
}

int Main(int argc, char** argv) {
  // Calls by git and of git; neither has anything to do with a task.
  if (const auto status = RunAsTool(argc, argv)) return *status;
  if (const auto status = RunAsUser(argc, argv)) return *status;
  if (const auto status = RunAsShell(argc, argv)) return *status;
  const Options options = ParseOptions(argc, argv);
  // The log is standard error; this cannot fail.
  telemetry::InitLog({.level = options.log_level}).IgnoreError();
  if (const auto* supervise = std::get_if<SuperviseOptions>(&options.command)) {
    return Supervise(*supervise);
  }
  if (const auto* serve = std::get_if<ServeOptions>(&options.command)) return RunServe(*serve);
  return RunDeliver(std::get<DeliverOptions>(options.command));
}

}  // namespace
}  // namespace dstack::runner

int main(int argc, char** argv) { return dstack::runner::Main(argc, argv); }
