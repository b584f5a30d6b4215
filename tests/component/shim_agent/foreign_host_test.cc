// The agents on a host that has nothing of the machine they were built on: no C library, no
// loader, no network, only busybox. Such a host is a container here.
#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <catch2/catch.hpp>
#include <fmt/format.h>

#include "libs/base/file.h"
#include "libs/base/uuid.h"
#include "libs/base/version.h"
#include "libs/docker/containers.h"
#include "libs/testing/await.h"
#include "libs/testing/mini_docker.h"
#include "libs/testing/paths.h"
#include "libs/testing/temp_dir.h"
#include "tests/component/runner_agent/session_client.h"
#include "tests/component/shim_agent/shim_client.h"
#include "tests/component/shim_agent/shim_process.h"

namespace dstack::shim {
namespace {

using namespace std::chrono_literals;

constexpr char kAgents[] = "/agents";
constexpr char kBundle[] = "/bundle";

class ForeignHost {
 public:
  // Null, with the reason printed as a skip, when there is no engine.
  static std::unique_ptr<ForeignHost> Make() {
    auto engine = testing::MiniDocker::Start();
    if (!engine.ok()) {
      testing::Skip(std::string(engine.status().message()));
      return nullptr;
    }
    const absl::Status image = (*engine)->EnsureBusybox();
    INFO(image);
    REQUIRE(image.ok());
    return std::unique_ptr<ForeignHost>(new ForeignHost(*std::move(engine)));
  }

  ~ForeignHost() { static_cast<void>(docker::RemoveContainer(engine_->client(), id_, {}).ok()); }

  // Starts this as the host's first process. The programs lie in kAgents and kBundle; home() is at
  // the same path here and there.
  void Start(std::vector<std::string> command) {
    const std::filesystem::path programs = testing::StaticBinary("dstack-shim");
    const docker::ContainerConfig config{
        .image = testing::kBusyboxImage,
        .entrypoint = std::move(command),
        .mounts = {{programs.parent_path().string(), kAgents, true},
                   {testing::BuildDir() + "/share/dstack/ssh-bundle", kBundle, true},
                   {home(), home()}},
        .network_mode = "none"};
    const auto id =
        docker::CreateContainer(engine_->client(), "foreign-" + base::NewUuid(), config, {});
    INFO(id.status());
    REQUIRE(id.ok());
    id_ = *id;
    REQUIRE(docker::StartContainer(engine_->client(), id_, {}).ok());
  }

  // Waits for its end, which must be a good one, and returns all output.
  std::string AwaitEnd() {
    docker::ContainerInfo info;
    testing::Await(30s, [&] {
      info = docker::InspectContainer(engine_->client(), id_, {}).value();
      return info.state == "exited";
    });
    const std::string output =
        docker::ContainerLogTail(engine_->client(), id_, 20, {}).value_or("");
    INFO(output);
    CHECK(info.exit_code == 0);
    return output;
  }

  const std::string& home() const { return dir_.path(); }

 private:
  explicit ForeignHost(std::unique_ptr<testing::MiniDocker> engine) : engine_(std::move(engine)) {}

  std::unique_ptr<testing::MiniDocker> engine_;
  testing::TempDir dir_;
  std::string id_;
};

TEST_CASE("all that is copied to a host starts on one without a C library") {
  const std::string version(base::Version());
  struct Program {
    std::vector<std::string> command;
    std::string output;
  };
  // What is dynamic comes with its loader.
  const std::vector<Program> programs = {
      {{fmt::format("{}/dstack-shim", kAgents), "--version"}, version},
      {{fmt::format("{}/dstack-runner", kAgents), "--version"}, version},
      {{fmt::format("{}/lib/ld-linux-x86-64.so.2", kBundle),
        "--library-path",
        fmt::format("{}/lib", kBundle),
        fmt::format("{}/bin/ssh-keygen", kBundle),
        "-t",
        "ed25519",
        "-N",
        "",
        "-f",
        "/tmp/key"},
       "public key has been saved"},
  };
  for (const Program& program : programs) {
    INFO(program.command.front());
    const auto host = ForeignHost::Make();
    if (!host) return;
    host->Start(program.command);
    CHECK(host->AwaitEnd().find(program.output) != std::string::npos);
  }
}

TEST_CASE("a shim on a host without a C library runs a job") {
  const auto host = ForeignHost::Make();
  if (!host) return;
  host->Start({fmt::format("{}/dstack-shim", kAgents),
               "--supervise",
               "--home",
               host->home(),
               "--runtime",
               "process"});
  const std::string socket = host->home() + "/shim.sock";
  testing::Await(30s, [&] { return base::Exists(socket); });
  ShimClient client("unix:" + socket);
  CHECK(client.AwaitHello().facts().container_runtime() == v1::CONTAINER_RUNTIME_PROCESS);

  v1::TaskSpec task = MakeTask("");
  task.set_network_mode(v1::NETWORK_MODE_HOST);
  client.Submit(task);
  const auto running = client.AwaitState(task.task_id(), v1::TASK_STATE_RUNNING);
  runner::ServerStore store;
  runner::SessionClient session("unix:" + running.runner_socket(), task.runner_token(), store);
  session.Submit(runner::MakeShellJob("echo home is $HOME; exit 4"));
  session.AwaitFilesNeeded();
  session.StartJob();
  session.AwaitText(common::v1::LOG_SOURCE_JOB, "home is /root");
  CHECK(session.AwaitState(runner::v1::JOB_STATE_FINISHED).exit_status() == 4);
  session.AwaitEndOfLogs();
  session.AckEnd();
  session.AwaitClosed();
  CHECK(client.AwaitState(task.task_id(), v1::TASK_STATE_TERMINATED).exit_status() == 4);
  client.Remove(task.task_id());
  client.AwaitRemoved(task.task_id());
}

}  // namespace
}  // namespace dstack::shim
