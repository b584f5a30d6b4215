#include "services/shim/update/upgrader.h"

#include <utility>
#include <vector>

#include "libs/base/macros.h"
#include "libs/base/status.h"
#include "libs/telemetry/log.h"

namespace dstack::shim {
namespace {

// For the answer to reach the server before the session ends.
constexpr std::chrono::milliseconds kSayGoodbye{200};

}  // namespace

Upgrader::Upgrader(ShimHome home, UpgraderSettings settings, exec::TimedExecutor& executor)
    : home_(home), settings_(std::move(settings)), executor_(executor), store_(std::move(home)) {
  const auto release = LoadRelease(home_);
  if (release.ok() && release->has_value()) SetLast(**release);
}

void Upgrader::SetLast(const Release& release) {
  base::MutexLock lock(mutex_);
  last_ = ToProto(release);
}

std::optional<v1::UpgradeStatus> Upgrader::last() const {
  base::MutexLock lock(mutex_);
  return last_;
}

void Upgrader::OnServing(std::function<void(const v1::UpgradeStatus&)> on_active) {
  executor_.Post([this, on_active = std::move(on_active)]() mutable {
    old_tasks_ = settings_.tasks();
    executor_.PostAfter(settings_.trial,
                        [this, on_active = std::move(on_active)] { Confirm(on_active); });
  });
}

void Upgrader::Confirm(const std::function<void(const v1::UpgradeStatus&)>& on_active) {
  auto release = LoadRelease(home_);
  if (!release.ok()) {
    telemetry::Error("the release file cannot be read", {{"status", release.status()}});
    return;
  }
  const bool is_ours = release->has_value() && (*release)->current == settings_.running;
  if (is_ours && (*release)->is_on_trial() && settings_.is_supervised) {
    (*release)->state = v1::UPGRADE_STATE_ACTIVE;
    if (const absl::Status saved = SaveRelease(home_, **release); !saved.ok()) {
      // The previous components stay until it is on disk: the supervisor may yet go back to them.
      telemetry::Warn("the new shim has stood its trial, which is not on disk; trying again",
                      {{"status", saved}});
      executor_.PostAfter(settings_.trial, [this, on_active] { Confirm(on_active); });
      return;
    }
    telemetry::Info("the new shim has stood its trial", {});
    SetLast(**release);
    on_active(ToProto(**release));
  }
  is_clean_up_due_ = true;
  CleanUp();
}

void Upgrader::OnTasksChanged() {
  if (!is_clean_up_due_) return;
  executor_.Post([this] { CleanUp(); });
}

void Upgrader::CleanUp() {
  if (!is_clean_up_due_ || is_leaving_ || has_received_) return;
  const std::set<std::string> tasks = settings_.tasks();
  std::erase_if(old_tasks_, [&](const std::string& id) { return !tasks.contains(id); });
  // Containers mount the ssh bundle, and may yet be started with their runner.
  if (!old_tasks_.empty()) return;
  is_clean_up_due_ = false;
  if (!settings_.running.shim.empty()) store_.RemoveOthers({settings_.running});
}

void Upgrader::Receive(v1::ComponentChunk chunk, std::function<void(v1::ComponentStatus)> done) {
  executor_.Post([this, chunk = std::move(chunk), done = std::move(done)] {
    has_received_ = true;
    done(store_.Receive(chunk));
  });
}

void Upgrader::Activate(v1::ActivateCommand command, std::function<void(v1::UpgradeStatus)> done) {
  executor_.Post([this, command = std::move(command), done = std::move(done)] {
    const absl::Status status = ActivateNow(command);
    v1::UpgradeStatus answer;
    answer.set_state(status.ok() ? v1::UPGRADE_STATE_ACTIVATING : v1::UPGRADE_STATE_REFUSED);
    *answer.mutable_components() = command.components();
    if (!status.ok()) answer.set_message(std::string(base::Message(status)));
    done(answer);
    if (!is_leaving_) return;
    executor_.PostAfter(kSayGoodbye, settings_.restart);
  });
}

absl::Status Upgrader::ActivateNow(const v1::ActivateCommand& command) {
  if (!settings_.is_supervised) {
    return base::Error(absl::StatusCode::kFailedPrecondition,
                       "INVALID_STATE",
                       "nobody would start this shim again: it runs without --supervise");
  }
  if (is_leaving_) return absl::OkStatus();
  ASSIGN_OR_RETURN(const AgentSet agents, store_.Check(command));
  ASSIGN_OR_RETURN(const auto known, LoadRelease(home_));
  const Release release{.current = agents,
                        .previous = known ? known->current : AgentSet{},
                        .state = v1::UPGRADE_STATE_ACTIVATING,
                        .attempted = agents};
  RETURN_IF_ERROR(SaveRelease(home_, release));
  telemetry::Info("the shim makes way for another one",
                  {{"shim", agents.shim}, {"runner", agents.runner}, {"ssh", agents.ssh}});
  SetLast(release);
  is_leaving_ = true;
  return absl::OkStatus();
}

}  // namespace dstack::shim
