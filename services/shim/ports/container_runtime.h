#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "dstack/shim/v1/host.pb.h"
#include "dstack/shim/v1/task.pb.h"

namespace dstack::shim {

// What a runtime can do and where it keeps things.
struct RuntimeFacts {
  v1::ContainerRuntime kind = v1::CONTAINER_RUNTIME_UNSPECIFIED;
  std::string version;   // empty for processes
  std::string data_dir;  // on the disk that fills up with images
  std::uint32_t cgroup_version = 0;
  bool has_images = false;
  bool has_privileged = false;
  bool has_mounts = false;
  std::vector<std::string> oci_runtimes;  // of an engine, sorted
};

// How the image itself would start; what the runner falls back to.
struct ImageConfig {
  std::vector<std::string> entrypoint;
  std::vector<std::string> cmd;
  std::string user;
  std::string working_dir;
  std::vector<std::string> env;  // "NAME=value"

  bool operator==(const ImageConfig&) const = default;
};

// What a container is made from.
struct LaunchSpec {
  v1::TaskSpec task;
  std::string container_name;
  // The task's runner directory on the host, complete before the launch. Short enough for a socket.
  std::string runner_dir;
  std::vector<std::string> gpu_ids;
};

enum class ContainerState {
  kCreated,  // never started
  kRunning,
  kExited,
};

struct ContainerStatus {
  std::string id;  // for processes the supervisor's pid once it runs
  std::string name;
  std::string task_id;
  std::int64_t pid = 0;  // of its first process, on the host; 0 when it does not run
  ContainerState state = ContainerState::kCreated;
  // When kExited; absent when the end was not seen by anybody.
  std::optional<int> exit_status;
  bool is_oom_killed = false;
  std::vector<v1::PortMapping> ports;
};

// Reason (base::Reason) of an error of Start() when a port of the host is in use.
inline constexpr std::string_view kPortsBindingFailed = "PORTS_BINDING_FAILED";

// Runs the runner's supervisor of a task in a container, or in what stands for one. A container is
// addressed by its task's id: there is at most one for each. Only containers of this shim are seen
// and touched. Thread-safe; calls block unless said otherwise, and are safe to repeat.
//
// Errors: UNAVAILABLE (the engine does not answer: try later), NOT_FOUND (no such container),
// CANCELLED, and others that a repetition would not mend.
class ContainerRuntime {
 public:
  virtual ~ContainerRuntime() = default;

  // From memory.
  virtual RuntimeFacts facts() const = 0;

  // Brings the task's image to the host, if it is not there, and keeps it until Remove(). Progress
  // is reported on the calling thread, as often as the engine tells it.
  virtual absl::StatusOr<ImageConfig> PrepareImage(
      const v1::TaskSpec& task,
      const std::function<void(const v1::PullProgress&)>& on_progress,
      const std::stop_token& stop) = 0;

  // Makes the container without starting it. One that exists for the task already and was never
  // started is taken instead; FAILED_PRECONDITION when it was started.
  virtual absl::StatusOr<ContainerStatus> Create(const LaunchSpec& launch) = 0;

  // Starts it; OK when it was started before.
  virtual absl::StatusOr<ContainerStatus> Start(const std::string& task_id) = 0;

  // Calls back once: OK as soon as the container does not run, NOT_FOUND when it is gone,
  // UNAVAILABLE when the engine went away, CANCELLED when the runtime is closing. Does not block;
  // the callback runs on any thread and must not block. Not before Start().
  virtual void WatchExit(const std::string& task_id,
                         std::function<void(absl::Status)> callback) = 0;

  virtual absl::StatusOr<ContainerStatus> Inspect(const std::string& task_id) = 0;

  // SIGTERM goes to the supervisor, SIGKILL ends everything in the container. OK when it does not
  // run.
  virtual absl::Status Signal(const std::string& task_id, int signal) = 0;

  // Ends what still runs and removes the container. OK when there is none.
  virtual absl::Status Remove(const std::string& task_id) = 0;

  // All containers of this shim.
  virtual absl::StatusOr<std::vector<ContainerStatus>> List() = 0;

  // The container as the engine describes it, as JSON without the values of its environment. For
  // people; empty when the runtime has nothing to tell.
  virtual absl::StatusOr<std::string> Describe(const std::string& task_id) {
    static_cast<void>(task_id);
    return std::string();
  }

  // The last lines that the supervisor itself printed, for messages; empty when unknown.
  virtual std::string OutputTail(const std::string& task_id) = 0;

  // Frees what nothing needs any more; to be called every few minutes. May block for minutes.
  virtual void Tidy() {}
};

}  // namespace dstack::shim
