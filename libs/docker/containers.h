#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "libs/docker/client.h"

namespace dstack::docker {

struct Mount {
  std::string source;  // absolute path on the host, must exist
  std::string target;  // absolute path in the container
  bool is_read_only = false;
};

struct Device {
  std::string path_on_host;
  std::string path_in_container;
};

// Accelerators given by the NVIDIA runtime.
struct GpuRequest {
  std::vector<std::string> ids;
  std::vector<std::string> capabilities;
};

// A TCP port of a container and the port of the host's 127.0.0.1 that leads to it.
struct PublishedPort {
  std::uint16_t container_port = 0;
  std::uint16_t host_port = 0;
  bool operator==(const PublishedPort&) const = default;
};

// How a container is made. Empty and zero mean the engine's or the image's default.
struct ContainerConfig {
  std::string image;
  std::vector<std::string> entrypoint;
  std::vector<std::string> cmd;
  std::vector<std::string> env;
  std::string user;
  std::map<std::string, std::string> labels;
  std::vector<Mount> mounts;
  std::vector<Device> devices;
  std::optional<GpuRequest> gpus;
  std::string network_mode;  // "bridge", "host"
  // A host port of 0 stands for a free one.
  std::vector<PublishedPort> published_ports;
  // Directories of the container on volumes of its own, which are removed with it.
  std::vector<std::string> anonymous_volumes;
  std::vector<std::string> added_capabilities;  // without "CAP_"
  std::vector<std::string> security_options;    // "seccomp=unconfined"
  std::string runtime;
  std::string ipc_mode;
  std::uint64_t nano_cpus = 0;
  std::uint64_t memory_bytes = 0;
  std::uint64_t shm_bytes = 0;
  bool is_privileged = false;
  bool has_unlimited_memlock = false;
  std::string stop_signal;
};

// Body of the create call. Exposed for tests.
std::string CreateBody(const ContainerConfig& config);

struct ContainerInfo {
  std::string id;
  std::string name;  // without the leading slash
  // "created", "running", "paused", "restarting", "removing", "exited", "dead"
  std::string state;
  // The start was tried and the process ran, however short.
  bool was_started = false;
  int exit_code = 0;
  bool is_oom_killed = false;
  std::string error;     // why the start failed
  std::string image_id;  // "sha256:..."
  std::map<std::string, std::string> labels;
  std::vector<PublishedPort> ports;  // TCP over IPv4
  std::int64_t pid = 0;              // of the first process, on the host
};

// Reads the answer of an inspect call. Exposed for tests.
absl::StatusOr<ContainerInfo> ParseContainer(std::string_view body);

// Limits: create 2 min, start 2 min, the rest 10 to 60 s. All but StartContainer and
// RemoveContainer pass the engine's error on as it is.

// Returns the container's id. ALREADY_EXISTS when the name is taken, NOT_FOUND when the image is
// absent.
absl::StatusOr<std::string> CreateContainer(const Client& client,
                                            const std::string& name,
                                            const ContainerConfig& config,
                                            const std::stop_token& stop);

// OK when it runs already.
absl::Status StartContainer(const Client& client,
                            const std::string& id,
                            const std::stop_token& stop);

absl::StatusOr<ContainerInfo> InspectContainer(const Client& client,
                                               const std::string& id,
                                               const std::stop_token& stop);

// Ids of all containers, ended ones included, that carry all of these labels.
absl::StatusOr<std::vector<std::string>> ListContainers(
    const Client& client,
    const std::map<std::string, std::string>& labels,
    const std::stop_token& stop);

// Calls back once when the container is not running (at once when it is not running now) with its
// exit code. Not to be used before the start. The callback must not block.
void WaitContainer(const Client& client,
                   const std::string& id,
                   std::function<void(absl::StatusOr<int>)> callback);

// `signal` is a number. FAILED_PRECONDITION when it is not running.
absl::Status KillContainer(const Client& client,
                           const std::string& id,
                           int signal,
                           const std::stop_token& stop);

// Ends and removes it with its anonymous volumes. OK when it is not there; waits for a removal that
// is in progress.
absl::Status RemoveContainer(const Client& client,
                             const std::string& id,
                             const std::stop_token& stop);

// Last lines of its output, stdout and stderr together, at most 16 KiB.
absl::StatusOr<std::string> ContainerLogTail(const Client& client,
                                             const std::string& id,
                                             int lines,
                                             const std::stop_token& stop);

// Takes the frames of the engine's multiplexed log format apart. Exposed for tests.
std::string DemultiplexLog(std::string_view body);

}  // namespace dstack::docker
