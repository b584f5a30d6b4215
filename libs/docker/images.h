#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "libs/docker/client.h"
#include "libs/docker/progress.h"
#include "libs/docker/registry_auth.h"

namespace dstack::docker {

// The parts of an image's configuration that say how its program is started.
struct ImageConfig {
  std::string id;  // "sha256:..."
  std::uint64_t size_bytes = 0;
  std::vector<std::string> entrypoint;
  std::vector<std::string> cmd;
  std::string user;
  std::string working_dir;
  std::vector<std::string> env;  // "NAME=value"
};

struct PullOptions {
  std::string reference;  // tag or digest included; see WithTag()
  std::optional<RegistryCredentials> credentials;
  // The pull fails when nothing of the image moves for so long, whatever the engine says meanwhile.
  // There is no limit for the whole: a slow pull that moves is a good pull.
  std::chrono::milliseconds stall_limit = std::chrono::minutes(10);
  // Called for each line of progress, on the calling thread.
  std::function<void(const PullTracker&)> on_progress;
  // Each line as the engine wrote it, on the calling thread.
  std::function<void(std::string_view)> on_line;
};

// The reference with ":latest" added when it has neither tag nor digest. A colon before the last
// slash belongs to the registry's port.
std::string WithTag(std::string_view reference);

// The tag says that the image may change: "latest", given or meant.
bool IsMovingTag(std::string_view reference);

// NOT_FOUND when the engine does not have it.
absl::StatusOr<ImageConfig> InspectImage(const Client& client,
                                         const std::string& reference,
                                         const std::stop_token& stop);

// Fetches an image. Errors have one of the reasons of pull_error.h; the message explains and joins
// all that the engine said, and never shows credentials. CANCELLED takes effect at once.
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

// As above, but FAILED_PRECONDITION when a container is made from it.
absl::Status RemoveUnusedImage(const Client& client,
                               const std::string& reference,
                               const std::stop_token& stop);

// Ids ("sha256:...") of the images that containers of anybody are made from, ended ones included.
absl::StatusOr<std::set<std::string>> ImagesOfContainers(const Client& client,
                                                         const std::stop_token& stop);

}  // namespace dstack::docker
