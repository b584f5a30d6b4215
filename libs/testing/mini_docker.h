#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <absl/status/statusor.h>

#include "libs/docker/client.h"
#include "libs/process/subprocess.h"
#include "libs/testing/temp_dir.h"

namespace dstack::testing {

// An image that every MiniDocker has: a static busybox as /bin/sh and its applets, users root and
// worker (uid 1000), /tmp.
inline constexpr char kBusyboxImage[] = "dstack-test/busybox:1";
// The same with this machine's Docker Engine in it: dockerd, docker and what they need.
inline constexpr char kDockerImage[] = "dstack-test/docker:1";

// A Docker Engine for tests: the one of DOCKER_HOST when it answers, otherwise a dockerd of its own
// in a private directory, which ends with this object. Two of them in one process share nothing.
class MiniDocker {
 public:
  // UNAVAILABLE says why there is none; the test is to be skipped then.
  static absl::StatusOr<std::unique_ptr<MiniDocker>> Start();
  // A dockerd of its own in any case: for tests that restart or kill it. It keeps its images below
  // `data_dir`; empty: in a directory that goes with this object.
  static absl::StatusOr<std::unique_ptr<MiniDocker>> StartPrivate(std::string data_dir = "");
  // One of its own that can start privileged containers, also where the kernel keeps capabilities
  // back: they have the others.
  static absl::StatusOr<std::unique_ptr<MiniDocker>> StartPrivileged();
  ~MiniDocker();

  // As in DOCKER_HOST.
  std::string host() const { return client_->endpoint().ToString(); }
  const docker::Client& client() const { return *client_; }

  // Makes kBusyboxImage; quick when it is there.
  absl::Status EnsureBusybox() const;
  // Makes kDockerImage.
  absl::Status EnsureDocker() const;

  // For a private engine: ends it with this signal, and starts it again on the same data.
  absl::Status StopEngine(int signal);
  absl::Status StartEngine();

 private:
  MiniDocker() = default;
  static absl::StatusOr<std::unique_ptr<MiniDocker>> StartWith(std::string data_dir,
                                                               std::vector<std::string> flags);
  absl::Status Connect();
  absl::Status EnsureImage(const std::string& image, const std::string& script) const;

  std::unique_ptr<TempDir> dir_;
  std::string data_dir_;
  std::vector<std::string> flags_;
  std::optional<process::Subprocess> engine_;
  std::optional<docker::Client> client_;
};

}  // namespace dstack::testing
