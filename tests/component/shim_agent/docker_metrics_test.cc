// What a shim measures of its host and of containers on a real engine.
#include <algorithm>
#include <chrono>

#include <catch2/catch.hpp>

#include "libs/testing/await.h"
#include "tests/component/runner_agent/session_client.h"
#include "tests/component/shim_agent/docker_fixture.h"

namespace dstack::shim {
namespace {

using namespace std::chrono_literals;

TEST_CASE("a container's processor time, memory and network are measured from outside") {
  const auto fixture = DockerFixture::Make();
  if (!fixture) return;
  fixture->Start();
  fixture->client.emplace(fixture->shim.Target(),
                          ShimClient::Settings{.wants_metrics_batches = true});
  ShimClient& client = *fixture->client;
  const v1::HostFacts facts = client.AwaitHello().facts();
  CHECK(facts.disk_free_bytes() > 0);
  CHECK_FALSE(facts.boot_id().empty());
  CHECK(std::find(facts.oci_runtimes().begin(), facts.oci_runtimes().end(), "runc") !=
        facts.oci_runtimes().end());

  const v1::TaskSpec task = MakeTask(testing::kBusyboxImage);
  client.Submit(task);
  const auto running = client.AwaitState(task.task_id(), v1::TASK_STATE_RUNNING);
  runner::ServerStore store;
  runner::SessionClient session("unix:" + running.runner_socket(), task.runner_token(), store);
  session.Submit(runner::MakeShellJob("while true; do :; done"));
  session.AwaitFilesNeeded();
  session.StartJob();
  session.AwaitState(runner::v1::JOB_STATE_RUNNING);
  testing::Await(30s, [&] {
    const auto samples = client.AwaitSamples(1);
    if (samples.back().tasks().empty()) return false;
    const v1::TaskMetrics& metrics = samples.back().tasks(0);
    // It uses a whole processor, and its supervisor some memory.
    return metrics.task_id() == task.task_id() && metrics.cpu_usage_micros() > 200'000 &&
           metrics.memory_used_bytes() > 0;
  });
  client.Terminate(task.task_id(), 0);
  client.AwaitState(task.task_id(), v1::TASK_STATE_TERMINATED);
}

}  // namespace
}  // namespace dstack::shim
