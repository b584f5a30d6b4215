#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <sys/types.h>

#include "libs/base/clock.h"
#include "libs/base/mutex.h"
#include "libs/base/random.h"
#include "libs/docker/client.h"
#include "libs/docker/containers.h"
#include "services/shim/adapters/image_store.h"
#include "services/shim/domain/device_settings.h"
#include "services/shim/ports/container_runtime.h"

namespace dstack::shim {

struct DockerRuntimeSettings {
  std::string shim_id;
  std::string runner_binary;   // static, on the host
  std::string ssh_bundle_dir;  // relocatable OpenSSH on the host; empty: jobs without sshd
  std::string base_image;      // for tasks that name none; empty: they are refused
  uid_t owner = 0;             // of the runners' sockets
  gid_t group = 0;
  std::string runner_log_level;
  // NAME=value, handed to every container; the runner adds the job's own.
  std::vector<std::string> env;
  bool has_privileged = true;
  // Where the engine's words about the pull of a task's image go; absent: nowhere.
  std::function<std::string(const std::string& task_id)> pull_log_path;
  ImageStoreSettings images;
  // Files of the host that containers get, or need for their accelerators.
  DeviceFiles device_files;
  // What is known about accelerators with these ids (Gpu.resource_id); absent: there are none.
  // Called from any thread.
  std::function<std::vector<common::v1::Gpu>(const std::vector<std::string>&)> find_gpus;
};

// The names under which containers are found again.
inline constexpr char kTaskLabel[] = "ai.dstack.shim.is-task";
inline constexpr char kTaskIdLabel[] = "ai.dstack.shim.task-id";
inline constexpr char kShimIdLabel[] = "ai.dstack.shim.id";

// Tasks as containers of a Docker Engine.
class DockerRuntime final : public ContainerRuntime {
 public:
  DockerRuntime(docker::Client client, docker::EngineInfo info, DockerRuntimeSettings settings);

  RuntimeFacts facts() const override;
  // An image that is there is taken as it is, unless its tag is "latest": that is fetched again,
  // and if the registry does not answer the present one does.
  absl::StatusOr<ImageConfig> PrepareImage(
      const v1::TaskSpec& task,
      const std::function<void(const v1::PullProgress&)>& on_progress,
      const std::stop_token& stop) override;
  absl::StatusOr<ContainerStatus> Create(const LaunchSpec& launch) override;
  absl::StatusOr<ContainerStatus> Start(const std::string& task_id) override;
  void WatchExit(const std::string& task_id, std::function<void(absl::Status)> callback) override;
  absl::StatusOr<ContainerStatus> Inspect(const std::string& task_id) override;
  absl::Status Signal(const std::string& task_id, int signal) override;
  absl::Status Remove(const std::string& task_id) override;
  absl::StatusOr<std::vector<ContainerStatus>> List() override;
  absl::StatusOr<std::string> Describe(const std::string& task_id) override;
  std::string OutputTail(const std::string& task_id) override;
  // Removes images by the policy.
  void Tidy() override { images_.CleanUp(); }

 private:
  std::string ImageOf(const v1::TaskSpec& task) const;
  absl::StatusOr<ImageConfig> PullOrFallBack(const v1::TaskSpec& task,
                                             const std::string& image,
                                             bool is_present,
                                             const std::function<void(const v1::PullProgress&)>&,
                                             const std::stop_token& stop);
  PullObserver ObserverOf(const v1::TaskSpec& task,
                          const std::function<void(const v1::PullProgress&)>& on_progress) const;
  absl::StatusOr<ContainerStatus> TakeExisting(const LaunchSpec& launch);
  bool MayRetryWithoutDisplay(const std::string& task_id, const absl::Status& status);
  absl::Status RecreateWithoutDisplay(const std::string& task_id);
  // Engine's ids of the task's containers; more than one only after somebody made one by hand.
  absl::StatusOr<std::vector<std::string>> FindIds(const std::string& task_id);
  absl::StatusOr<std::string> FindId(const std::string& task_id);
  void Remember(const std::string& task_id, const std::string& container_id);
  void Forget(const std::string& task_id);

  const docker::Client client_;
  const docker::EngineInfo info_;
  const DockerRuntimeSettings settings_;
  const base::RealClock clock_;
  base::SeededRandom random_;
  ImageStore images_;

  base::Mutex mutex_;
  std::map<std::string, std::string> ids_ GUARDED_BY(mutex_);
  // Of containers that were created and not yet started, to make them again in another way.
  std::map<std::string, LaunchSpec> launches_ GUARDED_BY(mutex_);
};

// How a task's container is made. `with_display` asks for the NVIDIA capability "display", which
// some hosts cannot give. Pure but for the symlinks of `runner_dir`, which are resolved.
docker::ContainerConfig MakeContainerConfig(const LaunchSpec& launch,
                                            const std::string& image,
                                            const DockerRuntimeSettings& settings,
                                            bool with_display);

}  // namespace dstack::shim
