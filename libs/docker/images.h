#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "libs/docker/client.h"
#include "libs/docker/progress.h"

namespace dstack::docker {

// The parts of an image's configuration that say how its program is started.
struct ImageConfig {
  std::string id;  // "sha256:..."
  std::vector<std::string> entrypoint;
  std::vector<std::string> cmd;
  std::string user;
  std::string working_dir;
  std::vector<std::string> env;  // "NAME=value"
};

struct RegistryCredentials {
  std::string username;
  std::string password;
};

struct PullOptions {
  std::string reference;  // tag or digest included; see WithTag()
  std::optional<RegistryCredentials> credentials;
  // The pull fails when the engine says nothing for so long. There is no limit for the whole: a
  // slow pull that moves is a good pull.
  std::chrono::milliseconds idle_timeout = std::chrono::minutes(10);
  // Called for each line of progress, on the calling thread.
  std::function<void(const PullTracker&)> on_progress;
};

// The reference with ":latest" added when it has neither tag nor digest. A colon before the last
// slash belongs to the registry's port.
std::string WithTag(std::string_view reference);

// The tag says that the image may change: "latest", given or meant.
bool IsMovingTag(std::string_view reference);

// Value of the header X-Registry-Auth.
std::string RegistryAuthHeader(const RegistryCredentials& credentials);

// NOT_FOUND when the engine does not have it.
absl::StatusOr<ImageConfig> InspectImage(const Client& client,
                                         const std::string& reference,
                                         const std::stop_token& stop);

// Fetches an image. The error's message joins all that the engine said; credentials never occur in
// it. PERMISSION_DENIED and NOT_FOUND as far as the registry's words tell.
absl::Status PullImage(const Client& client,
                       const PullOptions& options,
                       const std::stop_token& stop);

// Makes an image from a tar of its root file system. `changes` are Dockerfile instructions, for
// example "CMD [\"sh\"]". For tests and for hosts without a registry.
absl::Status ImportImage(const Client& client,
                         const std::string& reference,
                         std::string tar,
                         const std::vector<std::string>& changes,
                         const std::stop_token& stop);

// OK when it is not there.
absl::Status RemoveImage(const Client& client,
                         const std::string& reference,
                         const std::stop_token& stop);

}  // namespace dstack::docker
