// From `dstack apply` to the first line and to the end, and from `dstack stop` to the end.
#include <chrono>

#include <catch2/catch.hpp>
#include <fmt/format.h>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/docker/containers.h"
#include "libs/testing/await.h"
#include "libs/testing/mini_cluster.h"
#include "tests/bench/system/figures.h"

namespace dstack::bench {
namespace {

using namespace std::chrono_literals;
using testing::MiniCluster;

constexpr int kRuns = 50;
constexpr int kStops = 10;
constexpr int kEngineContainers = 20;

// What the engine alone takes for a container: the part of every start that is not ours.
void MeasureEngine(const MiniCluster& cluster, const std::string& network) {
  const docker::Client& client = cluster.docker().client();
  Samples start;
  Samples remove;
  for (int i = 0; i < kEngineContainers; ++i) {
    const auto begin = SteadyClock::now();
    const auto id = docker::CreateContainer(
        client,
        fmt::format("dstack-bench-{}-{}", getpid(), i),
        {.image = testing::kBusyboxImage, .cmd = {"true"}, .network_mode = network},
        {});
    REQUIRE(id.ok());
    CHECK(docker::StartContainer(client, *id, {}).ok());
    start.Add(MillisecondsSince(begin));
    const auto started = SteadyClock::now();
    CHECK(docker::RemoveContainer(client, *id, {}).ok());
    remove.Add(MillisecondsSince(started));
  }
  start.PrintPercentiles("engine_start_" + network, "ms");
  remove.PrintPercentiles("engine_remove_" + network, "ms");
}

void MeasureFirstLine(const MiniCluster& cluster) {
  Samples first_line;
  for (int i = 0; i < kRuns; ++i) {
    const std::string file = cluster.WriteTask("line-" + std::to_string(i), {"echo first"});
    const auto begin = SteadyClock::now();
    const auto apply = cluster.StartCli({"apply", "-y", "-f", file});
    REQUIRE(apply->AwaitExit() == 0);
    REQUIRE(apply->out() == "first\n");
    first_line.Add(Milliseconds(apply->arrivals().front().at - begin));
    cluster.AwaitIdle();
  }
  first_line.PrintPercentiles("apply_first_line", "ms");
}

void MeasureShortTask(const MiniCluster& cluster) {
  Samples whole;
  int wrong = 0;
  for (int i = 0; i < kRuns; ++i) {
    // Every second one fails: the status has to be right, too.
    const int expected = i % 2 == 0 ? 0 : 7;
    const std::string file = cluster.WriteTask("short-" + std::to_string(i),
                                               {"sleep 0.01; exit " + std::to_string(expected)});
    const ProgramCost apply = MeasureCli(cluster, {"apply", "-y", "-f", file});
    if (apply.status != expected) ++wrong;
    whole.Add(apply.wall_ms);
    cluster.AwaitIdle();
  }
  whole.PrintPercentiles("apply_10ms_task", "ms");
  Print("apply_10ms_task_wrong_status", wrong, "runs");
  CHECK(wrong == 0);
}

// One after the other without a pause: how long a host is between two tasks.
void MeasureTurnover(const MiniCluster& cluster) {
  constexpr int kTasks = 20;
  for (int i = 0; i < kTasks; ++i) {
    const std::string file = cluster.WriteTask("queue-" + std::to_string(i), {"true"});
    cluster.CliOk({"apply", "-d", "-y", "-f", file});
  }
  const auto begin = SteadyClock::now();
  cluster.AwaitRun("queue-" + std::to_string(kTasks - 1), "done", 120s);
  // Some have run while the others were submitted.
  Print("queued_tasks_drained", MillisecondsSince(begin), "ms");
  cluster.AwaitIdle();
}

// Milliseconds after `begin` of three ends of one run.
struct Ends {
  double process = 0;
  double container = 0;
  double run = 0;
};

Ends StopAndWatch(const MiniCluster& cluster, const std::string& name) {
  const std::string file = cluster.WriteTask(name, {"echo ready; exec sleep 1000"});
  const auto apply = cluster.StartCli({"apply", "-y", "-f", file});
  apply->AwaitOut("ready\n");
  const std::string process = "/proc/" + std::to_string(cluster.SupervisorPid(name));

  Ends ends;
  const auto begin = SteadyClock::now();
  const auto stop = cluster.StartCli({"stop", name, "-y"});
  testing::Await(60s, [&] {
    if (ends.process == 0 && !base::Exists(process)) ends.process = MillisecondsSince(begin);
    if (ends.run == 0 && !apply->IsRunning()) ends.run = MillisecondsSince(begin);
    // Asks the engine, so not before there is something to see.
    if (ends.process != 0 && ends.container == 0 && cluster.Containers().empty()) {
      ends.container = MillisecondsSince(begin);
    }
    return ends.container != 0 && ends.run != 0;
  });
  CHECK(stop->AwaitExit() == 0);
  CHECK(cluster.RunStatus(name) == "terminated");
  cluster.AwaitIdle();
  return ends;
}

void MeasureStop(const MiniCluster& cluster) {
  Samples process;
  Samples container;
  Samples run;
  for (int i = 0; i < kStops; ++i) {
    const Ends ends = StopAndWatch(cluster, "stopped-" + std::to_string(i));
    process.Add(ends.process);
    container.Add(ends.container);
    run.Add(ends.run);
  }
  Print("stop_container_exited_p50", process.At(0.5), "ms");
  Print("stop_container_gone_p50", container.At(0.5), "ms");
  Print("stop_run_ended_p50", run.At(0.5), "ms");
  Print("stop_run_ended_max", run.At(1), "ms");
}

TEST_CASE("runs") {
  const auto cluster = MiniCluster::Start();
  if (!cluster) return;
  MeasureEngine(*cluster, "bridge");
  MeasureEngine(*cluster, "host");
  MeasureFirstLine(*cluster);
  MeasureShortTask(*cluster);
  MeasureTurnover(*cluster);
  MeasureStop(*cluster);
  Print("server_rss_after_runs", ResidentMb(cluster->server_pid()), "MB");
  Print("shim_rss_after_runs", ResidentMb(cluster->ShimPid()), "MB");
}

}  // namespace
}  // namespace dstack::bench
