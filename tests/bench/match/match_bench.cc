// Cost of finding hosts for a run among many.
#include <algorithm>
#include <chrono>
#include <functional>
#include <vector>

#include <catch2/catch.hpp>

#include "fmt/format.h"
#include "services/server/domain/offer/match.h"
#include "services/server/domain/offer/schedule.h"
#include "services/server/domain/offer/test_hosts.h"

namespace dstack::server {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr int kHosts = 5000;
constexpr int kRepetitions = 200;

// Prints the median and the 99th percentile.
void Measure(const char* name, const std::function<void()>& action) {
  std::vector<double> times;
  for (int i = 0; i < kRepetitions; ++i) {
    const auto begin = SteadyClock::now();
    action();
    times.push_back(std::chrono::duration<double, std::milli>(SteadyClock::now() - begin).count());
  }
  std::sort(times.begin(), times.end());
  fmt::print("{}_p50 {:.3f} ms\n", name, times[times.size() / 2]);
  fmt::print("{}_p99 {:.3f} ms\n", name, times[times.size() * 99 / 100]);
}

// Machines of four kinds, some in use, some divided.
std::vector<Instance> Hosts() {
  std::vector<Instance> hosts;
  for (int i = 0; i < kHosts; ++i) {
    const auto number = static_cast<std::uint32_t>(i);
    Instance host = Host(fmt::format("fleet-{}", i), 96, 1024, i % 4 == 3 ? 8 : 1);
    host.instance_num = number;
    host.busy_blocks = i % 3 == 0 ? 1 : 0;
    for (int gpu = 0; gpu < (i % 2 == 0 ? 0 : 8); ++gpu) {
      auto* added = host.resources->add_gpus();
      added->set_resource_id(fmt::format("GPU-{:032}", gpu));
      added->set_vendor(common::v1::GPU_VENDOR_NVIDIA);
      added->set_name(i % 5 == 0 ? "H100" : "A100");
      added->set_memory_bytes(80 * kGiB);
    }
    hosts.push_back(std::move(host));
  }
  return hosts;
}

api::v1::RunSpec WantsGpus(int count) {
  api::v1::RunSpec spec = Wants(2, 8);
  auto* gpu = spec.mutable_configuration()->mutable_resources()->mutable_gpu();
  gpu->add_name("H100");
  gpu->add_name("A100");
  gpu->mutable_count()->set_min(count);
  gpu->mutable_memory()->set_min_bytes(40 * kGiB);
  gpu->mutable_compute_capability()->set_major(8);
  return spec;
}

TEST_CASE("bench") {
  const std::vector<Instance> hosts = Hosts();
  const api::v1::RunSpec spec = WantsGpus(8);
  const api::v1::RunSpec hopeless = WantsGpus(64);
  SchedulerSnapshot snapshot;
  snapshot.instances = hosts;
  snapshot.jobs.resize(1);
  snapshot.jobs[0].job.project_id = ProjectId("main");
  snapshot.jobs[0].run.spec = spec;
  REQUIRE(Schedule(snapshot).assignments.size() == 1);
  REQUIRE(MatchInstances(hopeless, hosts).offers.size() == kHosts);

  // The decision alone, for one job; then the plan with its offers and the reasons of all others.
  Measure("match_5000_hosts", [&] {
    int free = 0;
    for (const Instance& host : hosts)
      free += Judge(spec, std::nullopt, host).standing == Candidate::Standing::kFree ? 1 : 0;
    REQUIRE(free > 0);
  });
  Measure("plan_5000_hosts", [&] { MatchInstances(spec, hosts, {.max_offers = 50}); });
  Measure("plan_5000_hosts_none_fits",
          [&] { MatchInstances(hopeless, hosts, {.max_offers = 50}); });
}

}  // namespace
}  // namespace dstack::server
