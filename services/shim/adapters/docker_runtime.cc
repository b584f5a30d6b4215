#include "services/shim/adapters/docker_runtime.h"

#include <algorithm>
#include <memory>
#include <utility>

#include <absl/strings/strip.h>
#include <fmt/format.h>
#include <stdlib.h>

#include "libs/base/macros.h"
#include "libs/base/status.h"
#include "libs/docker/images.h"
#include "libs/telemetry/log.h"
#include "services/shim/adapters/supervisor_command.h"

namespace dstack::shim {
namespace {

// Where the runner's parts are inside a container.
constexpr char kRunnerBinary[] = "/usr/local/bin/dstack-runner";
constexpr char kRunnerDir[] = "/dstack/runner";
constexpr char kSshDir[] = "/opt/dstack/ssh";  // the loader's path is compiled into the programs

constexpr int kOutputTailLines = 5;
constexpr std::uint64_t kNanoCpusPerMilli = 1'000'000;

std::string RealPath(const std::string& path) {
  const std::unique_ptr<char, decltype(&::free)> real(::realpath(path.c_str(), nullptr), ::free);
  return real ? std::string(real.get()) : path;
}

std::vector<docker::Mount> MountsOf(const LaunchSpec& launch,
                                    const DockerRuntimeSettings& settings) {
  std::vector<docker::Mount> mounts = {
      {RealPath(launch.runner_dir), kRunnerDir, false},
      {RealPath(settings.runner_binary), kRunnerBinary, true},
  };
  if (!settings.ssh_bundle_dir.empty()) {
    mounts.push_back({RealPath(settings.ssh_bundle_dir), kSshDir, true});
  }
  for (const v1::BindMount& mount : launch.task.mounts()) {
    mounts.push_back({mount.host_path(), mount.container_path(), mount.is_read_only()});
  }
  return mounts;
}

docker::GpuRequest GpusOf(const std::vector<std::string>& ids, bool with_display) {
  docker::GpuRequest request{
      .ids = ids, .capabilities = {"gpu", "utility", "compute", "graphics", "video", "compat32"}};
  if (with_display) request.capabilities.emplace_back("display");
  return request;
}

ContainerStatus ToStatus(const docker::ContainerInfo& info) {
  ContainerStatus status{.id = info.id, .name = info.name};
  if (const auto it = info.labels.find(kTaskIdLabel); it != info.labels.end()) {
    status.task_id = it->second;
  }
  if (info.state == "created") {
    status.state = ContainerState::kCreated;
  } else if (info.state == "exited" || info.state == "dead" || info.state == "removing") {
    // A start that failed leaves "exited" behind on some engines; it never ran then.
    status.state = info.was_started ? ContainerState::kExited : ContainerState::kCreated;
  } else {
    status.state = ContainerState::kRunning;
  }
  if (status.state == ContainerState::kExited) status.exit_status = info.exit_code;
  status.is_oom_killed = info.is_oom_killed;
  for (const docker::PublishedPort& port : info.ports) {
    v1::PortMapping mapping;
    mapping.set_container_port(port.container_port);
    mapping.set_host_port(port.host_port);
    status.ports.push_back(mapping);
  }
  return status;
}

v1::PullProgress ToProto(const docker::PullTotals& totals) {
  v1::PullProgress progress;
  progress.set_downloaded_bytes(totals.downloaded_bytes);
  progress.set_extracted_bytes(totals.extracted_bytes);
  progress.set_total_bytes(totals.total_bytes);
  progress.set_is_total_final(totals.is_total_final);
  return progress;
}

ImageConfig ToConfig(docker::ImageConfig image) {
  return {.entrypoint = std::move(image.entrypoint),
          .cmd = std::move(image.cmd),
          .user = std::move(image.user),
          .working_dir = std::move(image.working_dir),
          .env = std::move(image.env)};
}

absl::Status ClassifyStartError(const absl::Status& status) {
  const std::string_view message = base::Message(status);
  for (const std::string_view text : {"port is already allocated", "address already in use"}) {
    if (message.find(text) != message.npos) {
      return base::Error(status.code(), kPortsBindingFailed, message);
    }
  }
  return status;
}

bool MentionsModeset(const absl::Status& status) {
  return base::Message(status).find("/dev/nvidia-modeset") != std::string_view::npos;
}

}  // namespace

docker::ContainerConfig MakeContainerConfig(const LaunchSpec& launch,
                                            const std::string& image,
                                            const DockerRuntimeSettings& settings,
                                            bool with_display) {
  const v1::TaskSpec& task = launch.task;
  const bool is_bridge = task.network_mode() == v1::NETWORK_MODE_BRIDGE;
  const SupervisorPlace place{
      .binary = kRunnerBinary,
      .task_dir = kRunnerDir,
      .ssh_dir = settings.ssh_bundle_dir.empty() ? "" : kSshDir,
      .ssh_port = is_bridge ? kContainerSshPort : std::uint16_t{0},
      .socket_owner = settings.owner,
      .socket_group = settings.group,
      .log_level = settings.runner_log_level,
  };
  docker::ContainerConfig config{
      .image = image,
      .entrypoint = SupervisorCommand(place, task),
      .env = settings.env,
      // The image's own user is for the job; the runner reads it from the image's configuration.
      .user = task.container_user().empty() ? "0:0" : task.container_user(),
      .labels = {{kTaskLabel, "true"},
                 {kTaskIdLabel, task.task_id()},
                 {kShimIdLabel, settings.shim_id}},
      .mounts = MountsOf(launch, settings),
      .network_mode = is_bridge ? "bridge" : "host",
      .nano_cpus = task.cpu_milli() * kNanoCpusPerMilli,
      .memory_bytes = task.memory_bytes(),
      .shm_bytes = task.shm_size_bytes(),
      .is_privileged = task.is_privileged(),
      .stop_signal = "SIGTERM",
  };
  if (is_bridge && !settings.ssh_bundle_dir.empty()) config.published_ports = {kContainerSshPort};
  if (!launch.gpu_ids.empty()) config.gpus = GpusOf(launch.gpu_ids, with_display);
  if (!settings.infiniband_dir.empty()) {
    config.devices.push_back({settings.infiniband_dir, settings.infiniband_dir});
    config.has_unlimited_memlock = true;
  }
  return config;
}

DockerRuntime::DockerRuntime(docker::Client client,
                             docker::EngineInfo info,
                             DockerRuntimeSettings settings)
    : client_(std::move(client)), info_(std::move(info)), settings_(std::move(settings)) {}

RuntimeFacts DockerRuntime::facts() const {
  return {.kind = v1::CONTAINER_RUNTIME_DOCKER,
          .version = info_.server_version,
          .data_dir = info_.root_dir,
          .cgroup_version = info_.cgroup_version == "2" ? 2U : 1U,
          .has_images = true,
          .has_privileged = settings_.has_privileged,
          .has_mounts = true};
}

std::string DockerRuntime::ImageOf(const v1::TaskSpec& task) const {
  return docker::WithTag(task.image().empty() ? settings_.base_image : task.image());
}

absl::StatusOr<ImageConfig> DockerRuntime::PrepareImage(
    const v1::TaskSpec& task,
    const std::function<void(const v1::PullProgress&)>& on_progress,
    const std::stop_token& stop) {
  const std::string image = ImageOf(task);
  auto present = docker::InspectImage(client_, image, stop);
  if (present.ok() && !docker::IsMovingTag(image)) return ToConfig(*std::move(present));
  if (!present.ok() && !absl::IsNotFound(present.status())) {
    return base::Annotate(present.status(), "{}", image);
  }
  return PullOrFallBack(task, image, present.ok(), on_progress, stop);
}

absl::StatusOr<ImageConfig> DockerRuntime::PullOrFallBack(
    const v1::TaskSpec& task,
    const std::string& image,
    bool is_present,
    const std::function<void(const v1::PullProgress&)>& on_progress,
    const std::stop_token& stop) {
  docker::PullOptions options{.reference = image};
  if (task.has_registry_auth()) {
    options.credentials = docker::RegistryCredentials{task.registry_auth().username(),
                                                      task.registry_auth().password()};
  }
  options.on_progress = [&](const docker::PullTracker& tracker) {
    if (const auto totals = tracker.totals()) on_progress(ToProto(*totals));
  };
  const absl::Status pulled = docker::PullImage(client_, options, stop);
  // Only where nobody was asked for a permission: an image that needs credentials is not given to
  // those whose credentials were refused.
  const bool may_use_present =
      is_present && !task.has_registry_auth() && !absl::IsCancelled(pulled);
  if (!pulled.ok() && !may_use_present) return base::Annotate(pulled, "{}", image);
  if (!pulled.ok()) {
    telemetry::Warn("an image could not be updated; the present one is used",
                    {{"task_id", task.task_id()}, {"image", image}, {"status", pulled}});
  }
  auto config = docker::InspectImage(client_, image, stop);
  if (!config.ok()) return base::Annotate(config.status(), "{}", image);
  return ToConfig(*std::move(config));
}

absl::StatusOr<ContainerStatus> DockerRuntime::Create(const LaunchSpec& launch) {
  const auto config =
      MakeContainerConfig(launch, ImageOf(launch.task), settings_, /*with_display=*/true);
  const auto id = docker::CreateContainer(client_, launch.container_name, config, {});
  if (absl::IsAlreadyExists(id.status())) return TakeExisting(launch);
  if (!id.ok()) return id.status();
  Remember(launch.task.task_id(), *id);
  {
    base::MutexLock lock(mutex_);
    launches_[launch.task.task_id()] = launch;
  }
  return ContainerStatus{
      .id = *id, .name = launch.container_name, .task_id = launch.task.task_id()};
}

absl::StatusOr<ContainerStatus> DockerRuntime::TakeExisting(const LaunchSpec& launch) {
  auto existing = Inspect(launch.task.task_id());
  if (absl::IsNotFound(existing.status())) {
    return absl::AlreadyExistsError(
        fmt::format("the name {} belongs to a container of somebody else", launch.container_name));
  }
  if (!existing.ok()) return existing;
  if (existing->state == ContainerState::kCreated) return existing;
  return absl::FailedPreconditionError(
      fmt::format("the container {} was started before", launch.container_name));
}

absl::StatusOr<ContainerStatus> DockerRuntime::Start(const std::string& task_id) {
  ASSIGN_OR_RETURN(std::string id, FindId(task_id));
  absl::Status started = docker::StartContainer(client_, id, {});
  if (MentionsModeset(started)) {
    RETURN_IF_ERROR(RecreateWithoutDisplay(task_id));
    ASSIGN_OR_RETURN(id, FindId(task_id));
    started = docker::StartContainer(client_, id, {});
  }
  if (!started.ok()) return ClassifyStartError(started);
  {
    base::MutexLock lock(mutex_);
    launches_.erase(task_id);
  }
  return Inspect(task_id);
}

// The capability "display" needs /dev/nvidia-modeset, which hosts without a display driver lack.
absl::Status DockerRuntime::RecreateWithoutDisplay(const std::string& task_id) {
  LaunchSpec launch;
  {
    base::MutexLock lock(mutex_);
    const auto node = launches_.extract(task_id);
    if (node.empty()) return absl::InternalError("the container's settings are not known any more");
    launch = node.mapped();
  }
  RETURN_IF_ERROR(Remove(task_id));
  const auto config =
      MakeContainerConfig(launch, ImageOf(launch.task), settings_, /*with_display=*/false);
  ASSIGN_OR_RETURN(const std::string id,
                   docker::CreateContainer(client_, launch.container_name, config, {}));
  Remember(task_id, id);
  return absl::OkStatus();
}

void DockerRuntime::WatchExit(const std::string& task_id,
                              std::function<void(absl::Status)> callback) {
  std::string id;
  {
    base::MutexLock lock(mutex_);
    if (const auto it = ids_.find(task_id); it != ids_.end()) id = it->second;
  }
  // Start() and List() remember every container that can be watched.
  if (id.empty()) return callback(absl::NotFoundError("no container of task " + task_id));
  docker::WaitContainer(client_, id, [callback = std::move(callback)](absl::StatusOr<int> code) {
    callback(code.status());
  });
}

absl::StatusOr<ContainerStatus> DockerRuntime::Inspect(const std::string& task_id) {
  ASSIGN_OR_RETURN(const std::string id, FindId(task_id));
  const auto info = docker::InspectContainer(client_, id, {});
  if (absl::IsNotFound(info.status())) Forget(task_id);
  if (!info.ok()) return info.status();
  return ToStatus(*info);
}

absl::Status DockerRuntime::Signal(const std::string& task_id, int signal) {
  ASSIGN_OR_RETURN(const std::string id, FindId(task_id));
  const absl::Status status = docker::KillContainer(client_, id, signal, {});
  return absl::IsFailedPrecondition(status) ? absl::OkStatus() : status;
}

absl::Status DockerRuntime::Remove(const std::string& task_id) {
  // Asked of the engine, not of memory: a create call that was cut off may have worked.
  ASSIGN_OR_RETURN(const auto ids, FindIds(task_id));
  for (const std::string& id : ids) RETURN_IF_ERROR(docker::RemoveContainer(client_, id, {}));
  Forget(task_id);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<ContainerStatus>> DockerRuntime::List() {
  ASSIGN_OR_RETURN(const auto ids,
                   docker::ListContainers(
                       client_, {{kTaskLabel, "true"}, {kShimIdLabel, settings_.shim_id}}, {}));
  std::vector<ContainerStatus> all;
  for (const std::string& id : ids) {
    const auto info = docker::InspectContainer(client_, id, {});
    if (absl::IsNotFound(info.status())) continue;
    if (!info.ok()) return info.status();
    ContainerStatus status = ToStatus(*info);
    Remember(status.task_id, status.id);
    all.push_back(std::move(status));
  }
  return all;
}

std::string DockerRuntime::OutputTail(const std::string& task_id) {
  const auto id = FindId(task_id);
  if (!id.ok()) return "";
  std::string text = docker::ContainerLogTail(client_, *id, kOutputTailLines, {}).value_or("");
  return std::string(base::ToStd(absl::StripAsciiWhitespace(text)));
}

absl::StatusOr<std::vector<std::string>> DockerRuntime::FindIds(const std::string& task_id) {
  return docker::ListContainers(
      client_,
      {{kTaskLabel, "true"}, {kShimIdLabel, settings_.shim_id}, {kTaskIdLabel, task_id}},
      {});
}

absl::StatusOr<std::string> DockerRuntime::FindId(const std::string& task_id) {
  {
    base::MutexLock lock(mutex_);
    if (const auto it = ids_.find(task_id); it != ids_.end()) return it->second;
  }
  ASSIGN_OR_RETURN(const auto ids, FindIds(task_id));
  if (ids.empty()) return absl::NotFoundError("no container of task " + task_id);
  Remember(task_id, ids.front());
  return ids.front();
}

void DockerRuntime::Remember(const std::string& task_id, const std::string& container_id) {
  base::MutexLock lock(mutex_);
  ids_[task_id] = container_id;
}

void DockerRuntime::Forget(const std::string& task_id) {
  base::MutexLock lock(mutex_);
  ids_.erase(task_id);
  launches_.erase(task_id);
}

}  // namespace dstack::shim
