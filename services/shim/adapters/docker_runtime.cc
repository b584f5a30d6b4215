#include "services/shim/adapters/docker_runtime.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include <absl/strings/strip.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <stdlib.h>

#include "libs/base/file.h"
#include "libs/base/macros.h"
#include "libs/base/status.h"
#include "libs/docker/images.h"
#include "libs/docker/pull_error.h"
#include "libs/telemetry/log.h"
#include "services/shim/adapters/docker_describe.h"
#include "services/shim/adapters/supervisor_command.h"
#include "services/shim/domain/task_spec.h"

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

std::vector<DeviceMapping> ExplicitDevices(const v1::TaskSpec& task) {
  std::vector<DeviceMapping> devices;
  for (const v1::DeviceMapping& device : task.devices()) {
    const std::string& inside = device.path_in_container();
    devices.push_back({device.path_on_host(), inside.empty() ? device.path_on_host() : inside});
  }
  return devices;
}

DeviceSettings DevicesOf(const LaunchSpec& launch,
                         const DockerRuntimeSettings& settings,
                         bool with_display) {
  if (launch.task.devices_size() > 0) {
    return ExplicitSettings(ExplicitDevices(launch.task), settings.device_files);
  }
  const auto gpus =
      settings.find_gpus ? settings.find_gpus(launch.gpu_ids) : std::vector<common::v1::Gpu>();
  return SettingsOf(gpus, settings.device_files, with_display);
}

// What the held accelerators need, beside what the task itself asks for.
void ApplyDevices(const DeviceSettings& devices, docker::ContainerConfig* config) {
  if (!devices.nvidia_ids.empty()) {
    config->gpus =
        docker::GpuRequest{.ids = devices.nvidia_ids, .capabilities = devices.nvidia_capabilities};
  }
  for (const DeviceMapping& device : devices.devices) {
    config->devices.push_back({device.path_on_host, device.path_in_container});
  }
  for (const DeviceBind& bind : devices.binds) {
    config->mounts.push_back({bind.source, bind.target, false});
  }
  for (const std::string& capability : devices.added_capabilities) {
    config->added_capabilities.push_back(capability);
  }
  config->security_options = devices.security_options;
  config->runtime = devices.runtime;
  config->ipc_mode = devices.ipc_mode;
  config->env.insert(config->env.end(), devices.env.begin(), devices.env.end());
  config->is_privileged = config->is_privileged || devices.is_privileged;
  config->has_unlimited_memlock = devices.has_unlimited_memlock;
}

std::vector<std::string> EnvOf(const v1::TaskSpec& task, const DockerRuntimeSettings& settings) {
  std::vector<std::string> env = settings.env;
  for (const auto& [name, value] : task.env()) env.push_back(fmt::format("{}={}", name, value));
  return env;
}

std::map<std::string, std::string> LabelsOf(const v1::TaskSpec& task,
                                            const DockerRuntimeSettings& settings) {
  std::map<std::string, std::string> labels(task.labels().begin(), task.labels().end());
  labels[kTaskLabel] = "true";
  labels[kTaskIdLabel] = task.task_id();
  labels[kShimIdLabel] = settings.shim_id;
  return labels;
}

std::vector<docker::PublishedPort> PortsOf(const v1::TaskSpec& task,
                                           const DockerRuntimeSettings& settings) {
  std::vector<docker::PublishedPort> ports;
  if (task.network_mode() != v1::NETWORK_MODE_BRIDGE) return ports;
  if (!settings.ssh_bundle_dir.empty()) ports.push_back({kContainerSshPort, 0});
  for (const v1::PortMapping& port : task.published_ports()) {
    ports.push_back({static_cast<std::uint16_t>(port.container_port()),
                     static_cast<std::uint16_t>(port.host_port())});
  }
  return ports;
}

ContainerStatus ToStatus(const docker::ContainerInfo& info) {
  ContainerStatus status{.id = info.id, .name = info.name, .pid = info.pid};
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

absl::StatusOr<std::optional<docker::RegistryCredentials>> CredentialsOf(const v1::TaskSpec& task,
                                                                         const std::string& image) {
  if (!task.has_registry_auth()) return std::nullopt;
  const v1::RegistryAuth& auth = task.registry_auth();
  if (!auth.docker_config().empty()) {
    const auto found = docker::CredentialsFromDockerConfig(auth.docker_config(), image);
    return found.ok()
               ? found
               : base::InvalidField("registry_auth.docker_config", base::Message(found.status()));
  }
  if (auth.username().empty() && auth.identity_token().empty()) return std::nullopt;
  return docker::RegistryCredentials{.username = auth.username(),
                                     .password = auth.password(),
                                     .identity_token = auth.identity_token()};
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
      .env = EnvOf(task, settings),
      // The image's own user is for the job; the runner reads it from the image's configuration.
      .user = task.container_user().empty() ? "0:0" : task.container_user(),
      .labels = LabelsOf(task, settings),
      .mounts = MountsOf(launch, settings),
      .network_mode = is_bridge ? "bridge" : "host",
      .published_ports = PortsOf(task, settings),
      .nano_cpus = task.cpu_milli() * kNanoCpusPerMilli,
      .memory_bytes = task.memory_bytes(),
      .shm_bytes = task.shm_size_bytes(),
      .is_privileged = task.is_privileged() || task.needs_docker(),
      .stop_signal = "SIGTERM",
  };
  for (const std::string& capability : task.capabilities()) {
    config.added_capabilities.emplace_back(BareCapability(capability));
  }
  // The engine inside cannot stack its layers on those of the container's own file system.
  if (task.needs_docker()) config.anonymous_volumes.emplace_back("/var/lib/docker");
  ApplyDevices(DevicesOf(launch, settings, with_display), &config);
  return config;
}

DockerRuntime::DockerRuntime(docker::Client client,
                             docker::EngineInfo info,
                             DockerRuntimeSettings settings)
    : client_(std::move(client)),
      info_(std::move(info)),
      settings_(std::move(settings)),
      images_(client_, settings_.images, clock_, random_) {}

RuntimeFacts DockerRuntime::facts() const {
  return {.kind = v1::CONTAINER_RUNTIME_DOCKER,
          .version = info_.server_version,
          .data_dir = info_.root_dir,
          .cgroup_version = info_.cgroup_version == "2" ? 2U : 1U,
          .has_images = true,
          .has_privileged = settings_.has_privileged,
          .has_mounts = true,
          .oci_runtimes = info_.runtimes};
}

std::string DockerRuntime::ImageOf(const v1::TaskSpec& task) const {
  return docker::WithTag(task.image().empty() ? settings_.base_image : task.image());
}

absl::StatusOr<ImageConfig> DockerRuntime::PrepareImage(
    const v1::TaskSpec& task,
    const std::function<void(const v1::PullProgress&)>& on_progress,
    const std::stop_token& stop) {
  const std::string image = ImageOf(task);
  images_.Hold(task.task_id(), image);
  auto present = docker::InspectImage(client_, image, stop);
  if (present.ok() && !docker::IsMovingTag(image)) {
    images_.Touch(image, *present);
    return ToConfig(*std::move(present));
  }
  if (absl::IsInvalidArgument(present.status())) {
    return base::Annotate(docker::PullError(base::Message(present.status())), "{}", image);
  }
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
  ASSIGN_OR_RETURN(const auto credentials, CredentialsOf(task, image));
  const absl::Status pulled = images_.Pull(image, credentials, ObserverOf(task, on_progress), stop);
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

PullObserver DockerRuntime::ObserverOf(
    const v1::TaskSpec& task,
    const std::function<void(const v1::PullProgress&)>& on_progress) const {
  PullObserver observer{.on_progress = on_progress};
  if (!settings_.pull_log_path) return observer;
  // For people: that it cannot be written is no reason to fail.
  const auto file =
      std::make_shared<base::UniqueFd>(::open(settings_.pull_log_path(task.task_id()).c_str(),
                                              O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
                                              0600));
  observer.on_lines = [file](const std::string& lines) {
    if (*file && !base::WriteAll(file->get(), lines).ok()) file->reset();
  };
  return observer;
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
  if (!started.ok() && MayRetryWithoutDisplay(task_id, started)) {
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

bool DockerRuntime::MayRetryWithoutDisplay(const std::string& task_id, const absl::Status& status) {
  base::MutexLock lock(mutex_);
  const auto it = launches_.find(task_id);
  if (it == launches_.end()) return false;
  return ShouldRetryWithoutDisplay(DevicesOf(it->second, settings_, /*with_display=*/true),
                                   std::string(base::Message(status)));
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
  docker::WaitContainer(
      client_, id, [callback = std::move(callback)](const absl::StatusOr<int>& code) {
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
  images_.LetGo(task_id);
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

absl::StatusOr<std::string> DockerRuntime::Describe(const std::string& task_id) {
  ASSIGN_OR_RETURN(const std::string id, FindId(task_id));
  ASSIGN_OR_RETURN(const docker::HttpResponse response,
                   client_.Call({.path = fmt::format("/containers/{}/json", id)}, {}));
  return DescribeContainer(response.body);
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
