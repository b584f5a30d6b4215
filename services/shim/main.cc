#include <chrono>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "libs/process/signals.h"
#include "libs/telemetry/log.h"
#include "services/shim/app.h"
#include "services/shim/options.h"
#include "services/shim/supervise.h"

namespace dstack::shim {
namespace {

// From ourselves: leave, so that the supervisor starts other components.
constexpr int kRestartSignal = SIGUSR1;

// Unlocks nothing but room: a host with many tasks has a connection for each.
void RaiseFileLimit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

int RunSupervisor(const Options& options, int argc, char** argv) {
  // By its path, so that people see what runs; a file that was replaced is run in its new form.
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  std::vector<std::string> child = {error ? "/proc/self/exe" : self.string()};
  for (int i = 1; i < argc; ++i) {
    if (std::string(argv[i]) != "--supervise") child.emplace_back(argv[i]);
  }
  return Supervise({.command = std::move(child),
                    .home = ShimHome(options.home),
                    .trial_limit = std::chrono::seconds(options.trial_limit_s)});
}

int RunShim(const Options& options) {
  // First of all: threads inherit the mask.
  auto signals = process::SignalWaiter::Create({SIGTERM, SIGINT, kRestartSignal});
  if (!signals.ok()) {
    telemetry::Error("signals cannot be waited for", {{"status", signals.status()}});
    return 1;
  }
  RaiseFileLimit();
  const auto app = App::Start(options, [] { ::kill(::getpid(), kRestartSignal); });
  if (!app.ok()) {
    telemetry::Error("the shim cannot start", {{"status", app.status()}});
    return absl::IsAlreadyExists(app.status()) ? kExitHomeTaken : 1;
  }
  const auto signal = signals->WaitUntil();
  telemetry::Info("shim stops; its tasks go on", {{"signal", signal.value_or(0)}});
  return signal == kRestartSignal ? kExitRestart : 0;
}

}  // namespace
}  // namespace dstack::shim

int main(int argc, char** argv) {
  using namespace dstack;  // NOLINT(google-build-using-namespace)
  const shim::Options options = shim::ParseOptions(argc, argv);
  const auto level = telemetry::ParseLevel(options.log_level);
  if (const auto status = telemetry::InitLog({.level = level.value_or(telemetry::Level::kInfo)});
      !status.ok()) {
    return 1;
  }
  return options.is_supervisor ? shim::RunSupervisor(options, argc, argv) : shim::RunShim(options);
}
