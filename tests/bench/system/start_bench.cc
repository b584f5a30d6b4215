// The server's start, and the time until a machine is a host.
#include <catch2/catch.hpp>

#include "libs/testing/mini_cluster.h"
#include "tests/bench/system/figures.h"

namespace dstack::bench {
namespace {

using testing::MiniCluster;

constexpr int kLaterStarts = 10;
constexpr int kFirstStarts = 3;

TEST_CASE("start of the server") {
  Samples first;
  Samples later;
  for (int i = 0; i < kFirstStarts; ++i) {
    const auto begin = SteadyClock::now();
    // Without an engine there is nothing else in this time than a server with an empty home.
    const auto cluster =
        MiniCluster::Start({.runtime = MiniCluster::Runtime::kProcess, .has_local_host = false});
    first.Add(MillisecondsSince(begin));
    if (i + 1 < kFirstStarts) continue;
    for (int j = 0; j < kLaterStarts; ++j) {
      cluster->StopServer();
      const auto again = SteadyClock::now();
      cluster->StartServer();
      later.Add(MillisecondsSince(again));
    }
  }
  Print("server_start_first_p50", first.At(0.5), "ms");
  later.PrintPercentiles("server_start_later", "ms");
}

TEST_CASE("fresh host and memory at rest") {
  const auto cluster = MiniCluster::Start({.is_idle_awaited = false});
  if (!cluster) return;
  const auto begin = SteadyClock::now();
  cluster->AwaitIdle();
  Print("fresh_host_idle", MillisecondsSince(begin), "ms");

  Print("server_rss_idle", ResidentMb(cluster->server_pid()), "MB");
  Print("server_postgres_pss_idle", ProportionalMb(cluster->PostgresPid()), "MB");
  Print("shim_rss_idle", ResidentMb(cluster->ShimPid()), "MB");

  const std::string file = cluster->WriteTask("still", {"exec sleep 1000"});
  cluster->CliOk({"apply", "-d", "-y", "-f", file});
  cluster->AwaitRun("still", "running");
  Print("runner_supervise_rss_idle", ResidentMb(cluster->SupervisorPid("still")), "MB");
  Print("runner_serve_rss_idle", ResidentMb(cluster->RunnerServePid("still")), "MB");
  cluster->CliOk({"stop", "still", "-x", "-y"});
  cluster->AwaitIdle();
}

}  // namespace
}  // namespace dstack::bench
