#include "services/shim/adapters/fake_container_runtime.h"

#include <utility>

#include <fmt/format.h>
#include <signal.h>

#include "libs/base/macros.h"

namespace dstack::shim {
namespace {

absl::Status NoContainer(const std::string& task_id) {
  return absl::NotFoundError(fmt::format("no container of task {}", task_id));
}

}  // namespace

RuntimeFacts FakeContainerRuntime::facts() const {
  return {.kind = v1::CONTAINER_RUNTIME_DOCKER,
          .version = "fake",
          .data_dir = "/",
          .has_images = true,
          .has_privileged = true,
          .has_mounts = true};
}

absl::Status FakeContainerRuntime::Enter(Op op) {
  std::function<void()> hook;
  {
    base::MutexLock lock(mutex_);
    if (const auto it = hooks_.find(op); it != hooks_.end()) hook = it->second;
  }
  if (hook) hook();
  base::MutexLock lock(mutex_);
  const auto node = failures_.extract(op);
  return node.empty() ? absl::OkStatus() : node.mapped();
}

absl::StatusOr<ImageConfig> FakeContainerRuntime::PrepareImage(
    const v1::TaskSpec&,
    const std::function<void(const v1::PullProgress&)>& on_progress,
    const std::stop_token& stop) {
  RETURN_IF_ERROR(Enter(Op::kPrepareImage));
  v1::PullProgress progress;
  progress.set_downloaded_bytes(1);
  progress.set_total_bytes(2);
  on_progress(progress);
  if (stop.stop_requested()) return absl::CancelledError("the pull was cancelled");
  base::MutexLock lock(mutex_);
  return image_;
}

absl::StatusOr<ContainerStatus> FakeContainerRuntime::Create(const LaunchSpec& launch) {
  RETURN_IF_ERROR(Enter(Op::kCreate));
  base::MutexLock lock(mutex_);
  const std::string& task_id = launch.task.task_id();
  if (const auto it = containers_.find(task_id); it != containers_.end()) {
    if (it->second.status.state == ContainerState::kCreated) return it->second.status;
    return absl::FailedPreconditionError("the container was started before");
  }
  Container container{.status = {.id = fmt::format("fake-{}", next_id_++),
                                 .name = launch.container_name,
                                 .task_id = task_id}};
  launches_[task_id] = launch;
  return containers_.emplace(task_id, std::move(container)).first->second.status;
}

absl::StatusOr<ContainerStatus> FakeContainerRuntime::Start(const std::string& task_id) {
  RETURN_IF_ERROR(Enter(Op::kStart));
  base::MutexLock lock(mutex_);
  const auto it = containers_.find(task_id);
  if (it == containers_.end()) return NoContainer(task_id);
  ContainerStatus& status = it->second.status;
  if (status.state == ContainerState::kCreated) {
    status.state = ContainerState::kRunning;
    ++starts_[task_id];
  }
  return status;
}

void FakeContainerRuntime::WatchExit(const std::string& task_id,
                                     std::function<void(absl::Status)> callback) {
  absl::Status now;
  {
    base::MutexLock lock(mutex_);
    const auto it = containers_.find(task_id);
    if (it == containers_.end()) {
      now = NoContainer(task_id);
    } else if (it->second.status.state == ContainerState::kRunning) {
      it->second.watches.push_back(std::move(callback));
      return;
    }
  }
  callback(now);
}

absl::StatusOr<ContainerStatus> FakeContainerRuntime::Inspect(const std::string& task_id) {
  RETURN_IF_ERROR(Enter(Op::kInspect));
  base::MutexLock lock(mutex_);
  const auto it = containers_.find(task_id);
  if (it == containers_.end()) return NoContainer(task_id);
  return it->second.status;
}

absl::Status FakeContainerRuntime::Signal(const std::string& task_id, int signal) {
  RETURN_IF_ERROR(Enter(Op::kSignal));
  bool ends = false;
  {
    base::MutexLock lock(mutex_);
    const auto it = containers_.find(task_id);
    if (it == containers_.end()) return NoContainer(task_id);
    if (it->second.status.state != ContainerState::kRunning) return absl::OkStatus();
    signals_[task_id].push_back(signal);
    ends = signal == SIGKILL || !ignores_sigterm_;
  }
  if (ends) Exit(task_id, 128 + signal);
  return absl::OkStatus();
}

absl::Status FakeContainerRuntime::Remove(const std::string& task_id) {
  RETURN_IF_ERROR(Enter(Op::kRemove));
  Exit(task_id, 128 + SIGKILL);
  base::MutexLock lock(mutex_);
  containers_.erase(task_id);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<ContainerStatus>> FakeContainerRuntime::List() {
  RETURN_IF_ERROR(Enter(Op::kList));
  base::MutexLock lock(mutex_);
  std::vector<ContainerStatus> all;
  for (const auto& [id, container] : containers_) all.push_back(container.status);
  return all;
}

std::string FakeContainerRuntime::OutputTail(const std::string&) { return "last words"; }

void FakeContainerRuntime::FailNext(Op op, absl::Status status) {
  base::MutexLock lock(mutex_);
  failures_[op] = std::move(status);
}

void FakeContainerRuntime::OnCall(Op op, std::function<void()> hook) {
  base::MutexLock lock(mutex_);
  hooks_[op] = std::move(hook);
}

void FakeContainerRuntime::Exit(const std::string& task_id, int exit_status, bool is_oom_killed) {
  Watches watches;
  {
    base::MutexLock lock(mutex_);
    const auto it = containers_.find(task_id);
    if (it == containers_.end() || it->second.status.state != ContainerState::kRunning) return;
    it->second.status.state = ContainerState::kExited;
    it->second.status.exit_status = exit_status;
    it->second.status.is_oom_killed = is_oom_killed;
    watches.swap(it->second.watches);
  }
  for (const auto& watch : watches) watch(absl::OkStatus());
}

void FakeContainerRuntime::Vanish(const std::string& task_id) {
  Watches watches;
  {
    base::MutexLock lock(mutex_);
    const auto node = containers_.extract(task_id);
    if (!node.empty()) watches.swap(node.mapped().watches);
  }
  for (const auto& watch : watches) watch(NoContainer(task_id));
}

void FakeContainerRuntime::BreakWatches() {
  Watches watches;
  {
    base::MutexLock lock(mutex_);
    for (auto& [id, container] : containers_) {
      for (auto& watch : container.watches) watches.push_back(std::move(watch));
      container.watches.clear();
    }
  }
  for (const auto& watch : watches) watch(absl::UnavailableError("the engine went away"));
}

void FakeContainerRuntime::IgnoreSigterm(bool ignores) {
  base::MutexLock lock(mutex_);
  ignores_sigterm_ = ignores;
}

void FakeContainerRuntime::SetImage(ImageConfig image) {
  base::MutexLock lock(mutex_);
  image_ = std::move(image);
}

void FakeContainerRuntime::Plant(ContainerStatus container) {
  base::MutexLock lock(mutex_);
  const std::string task_id = container.task_id;
  containers_[task_id] = {.status = std::move(container)};
}

std::optional<ContainerStatus> FakeContainerRuntime::Get(const std::string& task_id) const {
  base::MutexLock lock(mutex_);
  const auto it = containers_.find(task_id);
  if (it == containers_.end()) return std::nullopt;
  return it->second.status;
}

std::vector<int> FakeContainerRuntime::signals(const std::string& task_id) const {
  base::MutexLock lock(mutex_);
  const auto it = signals_.find(task_id);
  return it == signals_.end() ? std::vector<int>() : it->second;
}

std::optional<LaunchSpec> FakeContainerRuntime::launch(const std::string& task_id) const {
  base::MutexLock lock(mutex_);
  const auto it = launches_.find(task_id);
  if (it == launches_.end()) return std::nullopt;
  return it->second;
}

int FakeContainerRuntime::starts(const std::string& task_id) const {
  base::MutexLock lock(mutex_);
  const auto it = starts_.find(task_id);
  return it == starts_.end() ? 0 : it->second;
}

std::size_t FakeContainerRuntime::size() const {
  base::MutexLock lock(mutex_);
  return containers_.size();
}

}  // namespace dstack::shim
