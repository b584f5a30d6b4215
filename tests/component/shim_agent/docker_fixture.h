#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "libs/base/macros.h"
#include "libs/docker/containers.h"
#include "libs/testing/await.h"
#include "libs/testing/mini_docker.h"
#include "services/shim/adapters/docker_runtime.h"
#include "tests/component/shim_agent/shim_client.h"
#include "tests/component/shim_agent/shim_process.h"

namespace dstack::shim {

// An engine with the busybox image and a shim on it. Removes the shim's containers at the end.
class DockerFixture {
 public:
  // Null, with the reason printed as a skip, when there is no engine.
  static std::unique_ptr<DockerFixture> Make(ShimProcess::Settings settings = {}) {
    auto engine = testing::MiniDocker::Start();
    if (!engine.ok()) {
      testing::Skip(std::string(engine.status().message()));
      return nullptr;
    }
    const absl::Status image = (*engine)->EnsureBusybox();
    INFO(image);
    REQUIRE(image.ok());
    settings.docker_host = (*engine)->host();
    return std::make_unique<DockerFixture>(*std::move(engine), std::move(settings));
  }

  // The same with the shim started and a session open.
  static std::unique_ptr<DockerFixture> Ready(ShimProcess::Settings settings = {},
                                              const std::string& failpoints = "") {
    auto fixture = Make(std::move(settings));
    if (!fixture) return nullptr;
    fixture->Start(failpoints);
    fixture->Connect();
    return fixture;
  }

  DockerFixture(std::unique_ptr<testing::MiniDocker> engine_in, ShimProcess::Settings settings)
      : engine(std::move(engine_in)), shim(std::move(settings)) {}

  ~DockerFixture() {
    client.reset();
    for (const std::string& id : Containers()) {
      static_cast<void>(docker::RemoveContainer(engine->client(), id, {}).ok());
    }
  }

  void Start(const std::string& failpoints = "") { shim.Start(failpoints); }
  void Connect(std::uint64_t epoch = 1) {
    client.emplace(shim.Target(), ShimClient::Settings{.epoch = epoch});
  }
  // kill -9 and a new shim; the session is a new one.
  void Restart() {
    client.reset();
    shim.Kill();
    shim.Start();
    Connect();
  }

  // Submits the task and waits until it runs.
  v1::TaskStatus Run(const v1::TaskSpec& task) {
    client->Submit(task);
    return client->AwaitState(task.task_id(), v1::TASK_STATE_RUNNING);
  }
  // Kills the task and waits until it has ended.
  v1::TaskStatus End(const v1::TaskSpec& task) {
    client->Terminate(task.task_id(), 0);
    return client->AwaitState(task.task_id(), v1::TASK_STATE_TERMINATED);
  }
  // The same, and waits until nothing of it is left.
  void Discard(const v1::TaskSpec& task) {
    End(task);
    client->Remove(task.task_id());
    client->AwaitRemoved(task.task_id());
  }

  // Ids of the containers that carry this shim's id.
  std::vector<std::string> Containers() const {
    const auto ids = docker::ListContainers(engine->client(), {{kShimIdLabel, shim.shim_id()}}, {});
    return ids.ok() ? *ids : std::vector<std::string>();
  }

  std::unique_ptr<testing::MiniDocker> engine;
  ShimProcess shim;
  std::optional<ShimClient> client;
};

}  // namespace dstack::shim
