// A real shim on a made-up host with three NVIDIA cards: its helper program talks to stand-ins of
// the maker's libraries (services/shim/gpu_probe/fake_*.cc).
#include <chrono>
#include <filesystem>

#include <catch2/catch.hpp>
#include <stdlib.h>

#include "libs/base/file.h"
#include "libs/testing/await.h"
#include "libs/testing/temp_dir.h"
#include "tests/component/shim_agent/shim_client.h"
#include "tests/component/shim_agent/shim_process.h"

namespace dstack::shim {
namespace {

using namespace std::chrono_literals;

const common::v1::Gpu* Find(const v1::HostFacts& facts, const std::string& id) {
  for (const common::v1::Gpu& gpu : facts.resources().gpus()) {
    if (gpu.resource_id() == id) return &gpu;
  }
  return nullptr;
}

struct Fixture {
  Fixture() {
    ::setenv("FAKE_NVML_DIR", root.path().c_str(), 1);
    ::setenv("DSTACK_NVML_LIBRARY", FAKE_NVML_LIBRARY, 1);
    ::setenv("DSTACK_DCGM_LIBRARY", FAKE_DCGM_LIBRARY, 1);
    std::filesystem::create_directories(root.Path("dev"));
    Put("dev/nvidiactl", "");
  }

  void Put(const std::string& name, const std::string& text) const {
    REQUIRE(base::WriteFileAtomic(root.Path(name), text).ok());
  }

  testing::TempDir root;
  ShimProcess shim{{.runtime = "process", .extra_args = {"--device-root", root.path()}}};
};

TEST_CASE(
    "devices, their links and their failure reach the server; a failed one is not given out") {
  Fixture f;
  f.shim.Start();
  ShimClient client(f.shim.Target());
  const v1::HostFacts facts = client.AwaitFacts([](const v1::HostFacts& now) {
    const auto* gpu = Find(now, "GPU-0");
    return gpu != nullptr && gpu->health() == common::v1::HEALTH_STATUS_HEALTHY;
  });
  CHECK(facts.resources().gpus_size() == 4);
  CHECK(Find(facts, "GPU-0")->driver_version() == "550.54.15");
  CHECK(Find(facts, "MIG-10")->parent_uuid() == "GPU-2");
  CHECK_FALSE(facts.gpu_links().empty());
  CHECK_FALSE(facts.is_probing());

  f.Put("xid", "0 79\n");
  client.AwaitFacts([](const v1::HostFacts& now) {
    return Find(now, "GPU-0")->health() == common::v1::HEALTH_STATUS_FAILURE;
  });
  v1::TaskSpec task = MakeTask("");
  task.set_gpu_count(-1);
  client.Submit(task);
  const v1::TaskStatus running = client.AwaitState(task.task_id(), v1::TASK_STATE_RUNNING);
  CHECK(std::vector<std::string>(running.gpu_ids().begin(), running.gpu_ids().end()) ==
        std::vector<std::string>{"GPU-1", "MIG-10", "MIG-11"});
  client.Terminate(task.task_id(), 0);
  client.AwaitState(task.task_id(), v1::TASK_STATE_TERMINATED);
  client.Remove(task.task_id());
  client.AwaitRemoved(task.task_id());
}

TEST_CASE("RefreshHost asks the tools again, and a card that has come back is healthy") {
  Fixture f;
  f.shim.Start();
  ShimClient client(f.shim.Target());
  const auto has = [](common::v1::HealthStatus health) {
    return [health](const v1::HostFacts& now) {
      const auto* gpu = Find(now, "GPU-1");
      return gpu != nullptr && gpu->health() == health;
    };
  };
  client.AwaitFacts(has(common::v1::HEALTH_STATUS_HEALTHY));
  f.Put("lost", "1\n");
  client.AwaitFacts(has(common::v1::HEALTH_STATUS_FAILURE));
  std::filesystem::remove(f.root.Path("lost"));
  grpc::ClientContext context;
  v1::RefreshHostResponse response;
  REQUIRE(client.stub().RefreshHost(&context, {}, &response).ok());
  CHECK(has(common::v1::HEALTH_STATUS_HEALTHY)(response.facts()));
  client.AwaitFacts(has(common::v1::HEALTH_STATUS_HEALTHY));
  // It is watched as before.
  f.Put("xid", "1 79\n");
  client.AwaitFacts(has(common::v1::HEALTH_STATUS_FAILURE));
}

TEST_CASE("devices stay with their tasks over kill -9 of the shim, also while the probe hangs") {
  Fixture f;
  f.shim.Start();
  v1::TaskSpec task = MakeTask("");
  task.set_gpu_count(2);
  {
    ShimClient client(f.shim.Target());
    client.Submit(task);
    const auto running = client.AwaitState(task.task_id(), v1::TASK_STATE_RUNNING);
    // The two that are linked.
    CHECK(std::vector<std::string>(running.gpu_ids().begin(), running.gpu_ids().end()) ==
          std::vector<std::string>{"GPU-0", "GPU-1"});
  }
  f.shim.Kill();
  f.Put("hang", "");
  f.shim.Start();
  ShimClient client(f.shim.Target(), {.epoch = 2});
  client.AwaitSynced();
  CHECK(client.AwaitHello().facts().is_probing());
  CHECK(client.AwaitHello().facts().resources().gpus_size() == 4);
  v1::TaskSpec other = MakeTask("");
  other.set_gpu_count(3);
  client.Submit(other);
  const auto refused = client.AwaitState(other.task_id(), v1::TASK_STATE_TERMINATED);
  CHECK(refused.termination_message().find("3 accelerators were requested, 2 are free") !=
        std::string::npos);
  std::filesystem::remove(f.root.Path("hang"));
  client.AwaitFacts([](const v1::HostFacts& now) { return !now.is_probing(); });
  client.Terminate(task.task_id(), 0);
  client.AwaitState(task.task_id(), v1::TASK_STATE_TERMINATED);
  for (const auto& id : {task.task_id(), other.task_id()}) {
    client.Remove(id);
    client.AwaitRemoved(id);
  }
}

TEST_CASE("samples come in batches, those of the time without a server too") {
  Fixture f;
  f.shim.Start();
  {
    ShimClient client(f.shim.Target(), {.wants_metrics_batches = true});
    const auto samples = client.AwaitSamples(2);
    CHECK(samples.back().memory_used_bytes() > 0);
    testing::Await(20s, [&] { return client.AwaitSamples(1).back().gpus_size() == 3; });
  }
  ShimClient client(f.shim.Target(), {.epoch = 2, .wants_metrics_batches = true});
  const auto samples = client.AwaitSamples(2);
  for (std::size_t i = 1; i < samples.size(); ++i) {
    CHECK(samples[i].time().seconds() >= samples[i - 1].time().seconds());
    // Nothing was lost between the sessions and after.
    CHECK(samples[i].time().seconds() <= samples[i - 1].time().seconds() + 3);
  }
}

}  // namespace
}  // namespace dstack::shim
