#include "services/shim/choose_runtime.h"

#include <chrono>
#include <cstdlib>
#include <string_view>
#include <thread>
#include <utility>

#include <absl/strings/strip.h>
#include <fmt/format.h>

#include "libs/base/clock.h"
#include "libs/base/file.h"
#include "libs/base/macros.h"
#include "libs/base/status.h"
#include "libs/docker/client.h"
#include "libs/docker/endpoint.h"
#include "libs/telemetry/log.h"
#include "services/shim/adapters/docker_runtime.h"
#include "services/shim/adapters/process_runtime.h"

namespace dstack::shim {
namespace {

constexpr std::chrono::seconds kEngineWait{60};
constexpr std::chrono::milliseconds kEnginePause{200};
constexpr char kDocker[] = "docker";
constexpr char kProcess[] = "process";
constexpr char kInfinibandDir[] = "/dev/infiniband";
constexpr char kHugepagesDir[] = "/dev/hugepages-1G";

// What a container sees of the shim's environment.
std::vector<std::string> ProxyEnv() {
  std::vector<std::string> env;
  for (const char* name :
       {"http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"}) {
    const char* value = std::getenv(name);  // nobody sets it
    if (value != nullptr && *value != '\0') env.push_back(fmt::format("{}={}", name, value));
  }
  return env;
}

struct Engine {
  docker::Client client;
  docker::EngineInfo info;
};

absl::StatusOr<Engine> ConnectEngine() {
  ASSIGN_OR_RETURN(const docker::Endpoint endpoint, docker::EndpointFromEnvironment());
  ASSIGN_OR_RETURN(docker::Client client, docker::Client::Connect(endpoint));
  ASSIGN_OR_RETURN(docker::EngineInfo info, client.Info());
  return Engine{std::move(client), std::move(info)};
}

absl::StatusOr<Engine> WaitForEngine() {
  const auto deadline = base::DeadlineIn(kEngineWait);
  while (true) {
    auto engine = ConnectEngine();
    if (engine.ok() || !base::IsTransient(engine.status())) return engine;
    if (std::chrono::steady_clock::now() > deadline) return engine.status();
    std::this_thread::sleep_for(kEnginePause);
  }
}

std::string RememberedChoice(const ShimHome& home) {
  const std::string text = base::ReadFile(home.Runtime()).value_or("");
  return std::string(base::ToStd(absl::StripAsciiWhitespace(text)));
}

// "docker" or "process".
std::string Choose(RuntimeChoice choice, const ShimHome& home) {
  if (choice == RuntimeChoice::kDocker) return kDocker;
  if (choice == RuntimeChoice::kProcess) return kProcess;
  std::string remembered = RememberedChoice(home);
  if (remembered == kDocker || remembered == kProcess) return remembered;
  if (const auto engine = ConnectEngine(); !engine.ok()) {
    telemetry::Info("no container engine here; tasks run as processes",
                    {{"status", engine.status()}});
    return kProcess;
  }
  return kDocker;
}

// It gives a privileged container all capabilities of the kernel, or fails. Other runtimes give
// what there is, or a kernel of their own.
bool IsRunc(std::string_view runtime) {
  return runtime.empty() || runtime == "runc" || runtime.starts_with("io.containerd.runc.");
}

}  // namespace

absl::StatusOr<std::unique_ptr<ContainerRuntime>> ConnectRuntime(
    const Options& options,
    const ShimHome& home,
    const std::string& shim_id,
    uid_t owner,
    gid_t group,
    const std::vector<std::string>& missing_capabilities,
    GpuFinder find_gpus) {
  const std::string choice = Choose(options.runtime, home);
  // Written once: a full disk must not keep a shim from its tasks.
  if (base::ReadFile(home.Runtime()).value_or("") != choice + "\n") {
    RETURN_IF_ERROR(base::WriteFileAtomic(home.Runtime(), choice + "\n", 0600));
  }
  if (choice == kProcess) {
    return std::make_unique<ProcessRuntime>(
        home,
        ProcessRuntimeSettings{.shim_id = shim_id,
                               .runner_binary = options.runner_binary,
                               .ssh_bundle_dir = options.ssh_bundle_dir,
                               .owner = owner,
                               .group = group,
                               .runner_log_level = options.log_level,
                               .find_gpus = std::move(find_gpus)});
  }
  ASSIGN_OR_RETURN(Engine engine, WaitForEngine());
  const bool has_privileged = missing_capabilities.empty() || !IsRunc(engine.info.default_runtime);
  ImageStoreSettings images{.state_file = home.PulledImages(),
                            .data_dir = engine.info.root_dir,
                            .pull = {.stall_limit = std::chrono::seconds(options.pull_stall_s),
                                     .max_attempts = options.pull_attempts},
                            .policy = options.image_policy};
  return std::make_unique<DockerRuntime>(
      std::move(engine.client),
      std::move(engine.info),
      DockerRuntimeSettings{
          .shim_id = shim_id,
          .runner_binary = options.runner_binary,
          .ssh_bundle_dir = options.ssh_bundle_dir,
          .base_image = options.base_image,
          .owner = owner,
          .group = group,
          .runner_log_level = options.log_level,
          .env = ProxyEnv(),
          .has_privileged = has_privileged,
          .pull_log_path = [home](const std::string& id) { return home.PullLog(id); },
          .images = std::move(images),
          .device_files = {.has_infiniband = base::Exists(kInfinibandDir),
                           .has_hugepages_1g = base::Exists(kHugepagesDir)},
          .find_gpus = std::move(find_gpus)});
}

}  // namespace dstack::shim
