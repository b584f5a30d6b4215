// From the submission of a task to its running container, against the engine's own create and start
// with the same settings, in turn; and twenty at once. One line per figure.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <future>
#include <string>
#include <vector>

#include <catch2/catch.hpp>
#include <fmt/format.h>

#include "libs/base/uuid.h"
#include "libs/testing/paths.h"
#include "tests/component/shim_agent/docker_fixture.h"

namespace dstack::shim {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kRounds = 15;
constexpr int kConcurrent = 20;

double MillisecondsSince(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

void PrintMedian(const char* name, std::vector<double> values) {
  std::sort(values.begin(), values.end());
  std::printf("%s %.1f ms\n", name, values[values.size() / 2]);
  std::fflush(stdout);
}

// The settings of the shim's own containers, without the shim.
LaunchSpec Launch(const DockerFixture& fixture) {
  LaunchSpec launch;
  launch.task = MakeTask(testing::kBusyboxImage);
  launch.container_name = "bench-" + base::NewUuid();
  launch.runner_dir = fixture.shim.home() + "/s";
  return launch;
}

double EngineAlone(const DockerFixture& fixture) {
  const LaunchSpec launch = Launch(fixture);
  const DockerRuntimeSettings settings{.shim_id = fixture.shim.shim_id(),
                                       .runner_binary = testing::Binary("dstack-runner")};
  const auto config = MakeContainerConfig(launch, testing::kBusyboxImage, settings, true);
  const docker::Client& client = fixture.engine->client();
  const auto start = Clock::now();
  const auto id = docker::CreateContainer(client, launch.container_name, config, {});
  REQUIRE(id.ok());
  REQUIRE(docker::StartContainer(client, *id, {}).ok());
  const double duration = MillisecondsSince(start);
  REQUIRE(docker::RemoveContainer(client, *id, {}).ok());
  return duration;
}

double ByShim(DockerFixture& fixture) {
  const v1::TaskSpec task = MakeTask(testing::kBusyboxImage);
  const auto start = Clock::now();
  fixture.client->Submit(task);
  fixture.client->AwaitState(task.task_id(), v1::TASK_STATE_RUNNING);
  const double duration = MillisecondsSince(start);
  fixture.client->Terminate(task.task_id(), 0);
  fixture.client->AwaitState(task.task_id(), v1::TASK_STATE_TERMINATED);
  fixture.client->Remove(task.task_id());
  fixture.client->AwaitRemoved(task.task_id());
  return duration;
}

double ManyAlone(const DockerFixture& fixture) {
  std::vector<std::future<double>> starts;
  for (int i = 0; i < kConcurrent; ++i) {
    starts.push_back(std::async(std::launch::async, [&fixture] { return EngineAlone(fixture); }));
  }
  // All begin together, so that the slowest took as long as all.
  double slowest = 0;
  for (auto& each : starts) slowest = std::max(slowest, each.get());
  return slowest;
}

double ManyByShim(DockerFixture& fixture) {
  std::vector<v1::TaskSpec> tasks;
  const auto start = Clock::now();
  for (int i = 0; i < kConcurrent; ++i) {
    tasks.push_back(MakeTask(testing::kBusyboxImage));
    tasks.back().set_name(fmt::format("test-{}-0", i));
    fixture.client->Submit(tasks.back());
  }
  for (const v1::TaskSpec& task : tasks) {
    fixture.client->AwaitState(task.task_id(), v1::TASK_STATE_RUNNING);
  }
  const double duration = MillisecondsSince(start);
  for (const v1::TaskSpec& task : tasks) fixture.client->Terminate(task.task_id(), 0);
  for (const v1::TaskSpec& task : tasks) {
    fixture.client->AwaitState(task.task_id(), v1::TASK_STATE_TERMINATED);
  }
  return duration;
}

TEST_CASE("starts") {
  const auto fixture = DockerFixture::Make();
  REQUIRE(fixture);
  fixture->Start();
  fixture->Connect();
  fixture->client->AwaitSynced();
  ByShim(*fixture);
  std::vector<double> engine;
  std::vector<double> shim;
  for (int i = 0; i < kRounds; ++i) {
    engine.push_back(EngineAlone(*fixture));
    shim.push_back(ByShim(*fixture));
  }
  PrintMedian("shim_start_engine_alone", engine);
  PrintMedian("shim_start", shim);
  std::printf("shim_start_%d_engine_alone %.0f ms\n", kConcurrent, ManyAlone(*fixture));
  std::printf("shim_start_%d %.0f ms\n", kConcurrent, ManyByShim(*fixture));
}

}  // namespace
}  // namespace dstack::shim
