#include "services/shim/supervise.h"

#include <algorithm>
#include <chrono>
#include <optional>

#include <poll.h>
#include <signal.h>

#include "libs/base/clock.h"
#include "libs/base/status.h"
#include "libs/process/signals.h"
#include "libs/process/subprocess.h"
#include "libs/telemetry/log.h"
#include "services/shim/options.h"

namespace dstack::shim {
namespace {

constexpr std::chrono::milliseconds kFirstDelay{100};
constexpr std::chrono::milliseconds kLastDelay{3000};
// A child that lived so long begins with the first delay again.
constexpr std::chrono::seconds kHealthyLife{30};
constexpr std::chrono::seconds kLeaveTime{15};
// How often the child is looked at; a signal is seen at once.
constexpr std::chrono::milliseconds kCheck{100};

// Waits for the child or a signal; nothing when it was a signal.
std::optional<process::Exit> WaitForEither(process::Subprocess* child,
                                           process::SignalWaiter* signals) {
  while (true) {
    if (const auto exit = child->Poll()) return exit;
    if (signals->WaitUntil(base::DeadlineIn(kCheck))) return std::nullopt;
  }
}

int Leave(process::Subprocess* child) {
  // Only the shim: what it started is to live on, and it ends its own helpers.
  static_cast<void>(child->Kill(SIGTERM).ok());
  const auto exit = child->WaitUntil(base::DeadlineIn(kLeaveTime));
  return exit.ok() ? exit->ShellStatus() : 1;
}

}  // namespace

int Supervise(const std::vector<std::string>& argv) {
  auto signals = process::SignalWaiter::Create({SIGTERM, SIGINT});
  if (!signals.ok()) {
    telemetry::Error("signals cannot be waited for", {{"status", signals.status()}});
    return 1;
  }
  std::chrono::milliseconds delay = kFirstDelay;
  while (true) {
    const auto start = std::chrono::steady_clock::now();
    auto child = process::Subprocess::Start(
        argv, {.stdout_mode = process::Output::kInherit, .stderr_mode = process::Output::kInherit});
    if (!child.ok()) {
      telemetry::Error("the shim cannot be started", {{"status", child.status()}});
      return 1;
    }
    const auto exit = WaitForEither(&*child, &*signals);
    if (!exit) return Leave(&*child);
    if (exit->ok() || exit->code == kExitUsage) return exit->ShellStatus();
    if (std::chrono::steady_clock::now() - start > kHealthyLife) delay = kFirstDelay;
    telemetry::Error("the shim died and is started again", {{"exit", exit->ToString()}});
    if (signals->WaitUntil(base::DeadlineIn(delay))) return 0;
    delay = std::min(delay * 2, kLastDelay);
  }
}

}  // namespace dstack::shim
