#include "services/shim/supervise.h"

#include <algorithm>
#include <optional>
#include <utility>

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include "libs/base/clock.h"
#include "libs/base/file.h"
#include "libs/base/status.h"
#include "libs/process/signals.h"
#include "libs/process/subprocess.h"
#include "libs/telemetry/log.h"
#include "services/shim/options.h"
#include "services/shim/update/release.h"

namespace dstack::shim {
namespace {

constexpr std::chrono::milliseconds kFirstDelay{100};
constexpr std::chrono::milliseconds kLastDelay{3000};
// A child that lived so long begins with the first delay again.
constexpr std::chrono::seconds kHealthyLife{30};
constexpr std::chrono::seconds kLeaveTime{15};

// An unreadable file must not keep the host without a shim.
std::optional<Release> ReadRelease(const ShimHome& home) {
  auto release = LoadRelease(home);
  if (release.ok()) return *std::move(release);
  telemetry::Error("the release file is not used", {{"status", release.status()}});
  return std::nullopt;
}

class Supervisor {
 public:
  Supervisor(const SuperviseSettings& settings, process::SignalWaiter signals)
      : settings_(settings), signals_(std::move(signals)) {}

  int Run();

 private:
  enum class End { kExit, kSignal, kTrialOver };

  absl::StatusOr<process::Subprocess> StartChild();
  // Waits for the child, a signal, or the end of a trial that is not stood.
  End Await(process::Subprocess* child, process::Exit* exit);
  // What counts: a roll back that is not on disk yet, else the file.
  std::optional<Release> CurrentRelease();
  bool IsOnTrial();
  void RollBack(const std::string& why);
  // OK when it is on disk.
  absl::Status SaveRollBack();
  // Nothing: start it again.
  std::optional<int> AfterExit(const process::Exit& exit);
  static int Leave(process::Subprocess* child);
  bool IsAskedToLeaveWithin(base::Duration delay);

  const SuperviseSettings& settings_;
  process::SignalWaiter signals_;
  bool is_trial_ = false;
  // Decided, but the disk took no file.
  std::optional<Release> rolled_back_;
  base::MonotonicTime started_at_{};
  std::chrono::milliseconds delay_ = kFirstDelay;
};

absl::StatusOr<process::Subprocess> Supervisor::StartChild() {
  const auto release = CurrentRelease();
  is_trial_ = release && release->is_on_trial();
  started_at_ = std::chrono::steady_clock::now();
  std::vector<std::string> command = settings_.command;
  if (release) command = CommandFor(command, settings_.home, release->current);
  std::vector<std::string> env = process::CurrentEnvironment();
  env.push_back(fmt::format("{}=1", kSupervisedVariable));
  return process::Subprocess::Start(command,
                                    {.env = env,
                                     .stdout_mode = process::Output::kInherit,
                                     .stderr_mode = process::Output::kInherit});
}

std::optional<Release> Supervisor::CurrentRelease() {
  if (rolled_back_ && !SaveRollBack().ok()) return rolled_back_;
  return ReadRelease(settings_.home);
}

bool Supervisor::IsOnTrial() {
  const auto release = CurrentRelease();
  return release && release->is_on_trial();
}

Supervisor::End Supervisor::Await(process::Subprocess* child, process::Exit* exit) {
  while (true) {
    if (const auto ended = child->Poll()) {
      *exit = *ended;
      return End::kExit;
    }
    const auto signal =
        signals_.WaitUntil(is_trial_ ? started_at_ + settings_.trial_limit : base::kNoDeadline);
    if (signal && *signal != SIGCHLD) return End::kSignal;
    if (signal) continue;
    is_trial_ = IsOnTrial();
    if (is_trial_) return End::kTrialOver;
  }
}

void Supervisor::RollBack(const std::string& why) {
  const auto release = CurrentRelease();
  if (!release || !release->is_on_trial()) return;
  rolled_back_ = RolledBack(*release, "the new shim " + why);
  absl::Status saved = SaveRollBack();
  if (!saved.ok() && release->current.shim != release->previous.shim) {
    // Nobody needs the program that has failed, and on a full disk it is in the way.
    ::unlink(ComponentPath(settings_.home, v1::COMPONENT_SHIM, release->current.shim).c_str());
    saved = SaveRollBack();
  }
  telemetry::Error("the new shim did not stand its trial; going back to the previous one",
                   {{"why", why}, {"status", saved}});
}

absl::Status Supervisor::SaveRollBack() {
  absl::Status saved = SaveRelease(settings_.home, *rolled_back_);
  if (saved.ok()) rolled_back_.reset();
  return saved;
}

int Supervisor::Leave(process::Subprocess* child) {
  // Only the shim: what it started is to live on, and it ends its own helpers.
  static_cast<void>(child->Kill(SIGTERM).ok());
  const auto exit = child->WaitUntil(base::DeadlineIn(kLeaveTime));
  return exit.ok() ? exit->ShellStatus() : 1;
}

std::optional<int> Supervisor::AfterExit(const process::Exit& exit) {
  if (exit.code == kExitRestart) {
    delay_ = kFirstDelay;
    return std::nullopt;
  }
  // While another shim still holds the home, the one on trial has not had its chance.
  if (is_trial_ && exit.code != kExitHomeTaken && IsOnTrial()) {
    RollBack(exit.ToString());
    delay_ = kFirstDelay;
    return std::nullopt;
  }
  if (exit.ok() || exit.code == kExitUsage) return exit.ShellStatus();
  if (std::chrono::steady_clock::now() - started_at_ > kHealthyLife) delay_ = kFirstDelay;
  telemetry::Error("the shim died and is started again", {{"exit", exit.ToString()}});
  if (IsAskedToLeaveWithin(delay_)) return 0;
  delay_ = std::min(delay_ * 2, kLastDelay);
  return std::nullopt;
}

bool Supervisor::IsAskedToLeaveWithin(base::Duration delay) {
  const base::MonotonicTime deadline = base::DeadlineIn(delay);
  while (const auto signal = signals_.WaitUntil(deadline)) {
    if (*signal != SIGCHLD) return true;
  }
  return false;
}

int Supervisor::Run() {
  while (true) {
    auto child = StartChild();
    if (!child.ok() && is_trial_) {
      RollBack(fmt::format("cannot be started: {}", base::Message(child.status())));
      continue;
    }
    if (!child.ok()) {
      telemetry::Error("the shim cannot be started", {{"status", child.status()}});
      return 1;
    }
    process::Exit exit;
    switch (Await(&*child, &exit)) {
      case End::kSignal:
        return Leave(&*child);
      case End::kTrialOver:
        static_cast<void>(child->Kill(SIGKILL).ok());
        static_cast<void>(child->WaitUntil(base::DeadlineIn(kLeaveTime)).ok());
        RollBack(fmt::format("did not serve within {} s", settings_.trial_limit.count()));
        break;
      case End::kExit:
        if (const auto status = AfterExit(exit)) return *status;
        break;
    }
  }
}

}  // namespace

int Supervise(const SuperviseSettings& settings) {
  auto signals = process::SignalWaiter::Create({SIGTERM, SIGINT, SIGCHLD});
  if (!signals.ok()) {
    telemetry::Error("signals cannot be waited for", {{"status", signals.status()}});
    return 1;
  }
  return Supervisor(settings, *std::move(signals)).Run();
}

}  // namespace dstack::shim
