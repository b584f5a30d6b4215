#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include <sys/types.h>

#include "libs/base/mutex.h"
#include "libs/docker/client.h"
#include "libs/docker/containers.h"
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
  // Mapped into every container when not empty ("/dev/infiniband"); lifts the memlock limit too.
  std::string infiniband_dir;
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
  std::string OutputTail(const std::string& task_id) override;

 private:
  std::string ImageOf(const v1::TaskSpec& task) const;
  absl::StatusOr<ImageConfig> PullOrFallBack(const v1::TaskSpec& task,
                                             const std::string& image,
                                             bool is_present,
                                             const std::function<void(const v1::PullProgress&)>&,
                                             const std::stop_token& stop);
  absl::StatusOr<ContainerStatus> TakeExisting(const LaunchSpec& launch);
  absl::Status RecreateWithoutDisplay(const std::string& task_id);
  // Engine's ids of the task's containers; more than one only after somebody made one by hand.
  absl::StatusOr<std::vector<std::string>> FindIds(const std::string& task_id);
  absl::StatusOr<std::string> FindId(const std::string& task_id);
  void Remember(const std::string& task_id, const std::string& container_id);
  void Forget(const std::string& task_id);

  const docker::Client client_;
  const docker::EngineInfo info_;
  const DockerRuntimeSettings settings_;

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
