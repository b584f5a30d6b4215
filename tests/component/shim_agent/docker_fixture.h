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
