#include <csignal>
#include <cstdlib>
#include <iostream>
#include <optional>
#include <string>
#include <vector>

#include <malloc.h>
#include <unistd.h>

#include "fmt/format.h"
#include "libs/base/status.h"
#include "libs/process/signals.h"
#include "libs/telemetry/log.h"
#include "services/server/app.h"
#include "services/server/client_settings.h"
#include "services/server/options.h"

namespace dstack::server {
namespace {

constexpr std::chrono::seconds kGrace{5};

std::optional<std::string> GetEnvironment(const std::string& name) {
  // Only at the start, before any other thread exists.
  const char* value = std::getenv(name.c_str());
  if (value == nullptr) return std::nullopt;
  return std::string(value);
}

// Many threads that allocate a little each would otherwise keep a heap apiece.
void LimitHeaps() {
  mallopt(M_ARENA_MAX, 2);
  mallopt(M_TRIM_THRESHOLD, 1 << 20);
}

int Fail(const absl::Status& status) {
  std::cerr << "dstack-server: " << base::Message(status) << "\n";
  return 1;
}

bool AskPerson(const std::string& path) {
  if (isatty(STDIN_FILENO) == 0) {
    std::cerr << path
              << ": the project `main` belongs to another server; start with -y to replace it\n";
    return false;
  }
  std::cerr << "Update the project `main` in " << path << "? [y/n]: " << std::flush;
  std::string answer;
  std::getline(std::cin, answer);
  return answer == "y" || answer == "Y" || answer == "yes";
}

void Announce(const App& app, const Options& options) {
  const auto settings = UpdateClientSettings(
      options.client_home, app.url(), app.admin_token(), options.client_update, AskPerson);
  if (!settings.ok())
    telemetry::Warn("client settings not updated", {{"error", settings.status()}});
  std::cout << "The server is running at " << app.url() << "\n";
  if (app.has_new_token()) std::cout << "The admin token is " << app.admin_token().Reveal() << "\n";
  std::cout << std::flush;
}

// From here on a signal ends the process at once: someone asked twice. What is durable stays so,
// and the next start takes over.
void EndOnNextSignal() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
}

int Serve(const Options& options, process::SignalWaiter& signals) {
  auto app = App::Start(options);
  if (!app.ok()) return Fail(app.status());
  Announce(**app, options);
  signals.WaitUntil();
  telemetry::Info("stopping");
  EndOnNextSignal();
  (*app)->Stop(kGrace);
  app->reset();
  return 0;
}

int RunServer(const std::vector<std::string>& arguments) {
  const ParsedOptions parsed = ParseOptions(arguments, GetEnvironment);
  if (!parsed.options) {
    (parsed.exit_status == 0 ? std::cout : std::cerr) << parsed.text;
    return parsed.exit_status;
  }
  const Options& options = *parsed.options;
  auto signals = process::SignalWaiter::Create({SIGTERM, SIGINT});
  if (!signals.ok()) return Fail(signals.status());
  telemetry::LogOptions log;
  log.level = *telemetry::ParseLevel(options.log_level);
  log.json = options.is_log_json;
  if (const absl::Status status = telemetry::InitLog(log); !status.ok()) return Fail(status);
  if (options.command == Options::Command::kMigrate) {
    const absl::Status status = MigrateDatabase(options);
    return status.ok() ? 0 : Fail(status);
  }
  return Serve(options, *signals);
}

}  // namespace
}  // namespace dstack::server

int main(int argc, char** argv) {
  dstack::server::LimitHeaps();
  return dstack::server::RunServer(std::vector<std::string>(argv + 1, argv + argc));
}
