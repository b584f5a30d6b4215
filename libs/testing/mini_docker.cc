#include "libs/testing/mini_docker.h"

#include <chrono>
#include <thread>
#include <utility>

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include "libs/base/clock.h"
#include "libs/base/file.h"
#include "libs/base/macros.h"
#include "libs/base/status.h"
#include "libs/docker/images.h"
#include "libs/testing/paths.h"

namespace dstack::testing {
namespace {

constexpr std::chrono::seconds kStartTimeout{60};
constexpr std::chrono::seconds kStopTimeout{30};
constexpr std::chrono::seconds kImageTimeout{60};
constexpr std::size_t kMaxImageBytes = std::size_t{512} << 20;

std::string LastLines(const std::string& path) {
  const std::string text = base::ReadFile(path).value_or("");
  return text.size() > 1000 ? text.substr(text.size() - 1000) : text;
}

}  // namespace

absl::StatusOr<std::unique_ptr<MiniDocker>> MiniDocker::Start() {
  std::unique_ptr<MiniDocker> engine(new MiniDocker);
  ASSIGN_OR_RETURN(const docker::Endpoint endpoint, docker::EndpointFromEnvironment());
  auto client = docker::Client::Connect(endpoint);
  if (!client.ok()) return StartPrivate();
  engine->client_.emplace(*std::move(client));
  return engine;
}

absl::StatusOr<std::unique_ptr<MiniDocker>> MiniDocker::StartPrivate(std::string data_dir) {
  return StartWith(std::move(data_dir), {});
}

absl::StatusOr<std::unique_ptr<MiniDocker>> MiniDocker::StartPrivileged() {
  const std::string runtime = SourceDir() + "/tests/fixtures/engine/bounded_runc.py";
  return StartWith("", {"--add-runtime", "bounded=" + runtime, "--default-runtime", "bounded"});
}

absl::StatusOr<std::unique_ptr<MiniDocker>> MiniDocker::StartWith(std::string data_dir,
                                                                  std::vector<std::string> flags) {
  if (::geteuid() != 0) return base::Unavailable("a private dockerd needs root");
  if (!process::FindProgram("dockerd").ok()) {
    return base::Unavailable("there is no dockerd (package docker.io)");
  }
  std::unique_ptr<MiniDocker> engine(new MiniDocker);
  engine->dir_ = std::make_unique<TempDir>();
  engine->data_dir_ = data_dir.empty() ? engine->dir_->Path("data") : std::move(data_dir);
  engine->flags_ = std::move(flags);
  RETURN_IF_ERROR(engine->StartEngine());
  return engine;
}

absl::Status MiniDocker::StartEngine() {
  const std::string& dir = dir_->path();
  // dockerd leaves these behind when it is killed, and waits for the containerd of the second one
  // even if that is a zombie that nobody reaps.
  RETURN_IF_ERROR(base::RemoveAll(dir + "/pid"));
  RETURN_IF_ERROR(base::RemoveAll(dir + "/exec/containerd/containerd.pid"));
  std::vector<std::string> command = {"/bin/sh",
                                      "-c",
                                      "exec \"$@\" >>\"$0\" 2>&1",
                                      dir + "/log",
                                      "dockerd",
                                      "--data-root",
                                      data_dir_,
                                      "--exec-root",
                                      dir + "/exec",
                                      "--pidfile",
                                      dir + "/pid",
                                      "--host",
                                      fmt::format("unix://{}/sock", dir)};
  command.insert(command.end(), flags_.begin(), flags_.end());
  ASSIGN_OR_RETURN(process::Subprocess engine, process::Subprocess::Start(command));
  engine_.emplace(std::move(engine));
  return Connect();
}

absl::Status MiniDocker::Connect() {
  const docker::Endpoint endpoint{.socket_path = dir_->Path("sock")};
  const auto deadline = base::DeadlineIn(kStartTimeout);
  while (true) {
    auto client = docker::Client::Connect(endpoint);
    if (client.ok()) {
      client_.emplace(*std::move(client));
      return absl::OkStatus();
    }
    if (engine_->Poll() || std::chrono::steady_clock::now() > deadline) {
      return base::Unavailable(
          fmt::format("dockerd does not start: {}", LastLines(dir_->Path("log"))));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

absl::Status MiniDocker::StopEngine(int signal) {
  // Its containerd dies with a dockerd that is killed; a polite one ends it itself.
  RETURN_IF_ERROR(signal == SIGKILL ? engine_->KillGroup(signal) : engine_->Kill(signal));
  return engine_->WaitUntil(base::DeadlineIn(kStopTimeout)).status();
}

MiniDocker::~MiniDocker() {
  if (!engine_) return;
  client_.reset();
  // Containers end with a dockerd that is asked to end.
  if (!StopEngine(SIGTERM).ok()) static_cast<void>(engine_->KillGroup(SIGKILL));
}

absl::Status MiniDocker::EnsureBusybox() const { return EnsureImage(kBusyboxImage, "busybox.sh"); }

absl::Status MiniDocker::EnsureDocker() const { return EnsureImage(kDockerImage, "docker.sh"); }

absl::Status MiniDocker::EnsureImage(const std::string& image, const std::string& script) const {
  if (docker::InspectImage(*client_, image, {}).ok()) return absl::OkStatus();
  ASSIGN_OR_RETURN(
      std::string tar,
      process::RunChecked({"/bin/sh", SourceDir() + "/tests/fixtures/images/" + script},
                          kImageTimeout,
                          {.output_limit_bytes = kMaxImageBytes}));
  return docker::ImportImage(*client_, image, std::move(tar), {"CMD [\"sh\"]"}, {});
}

}  // namespace dstack::testing
