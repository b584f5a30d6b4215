// Stop, abort and Ctrl-C.
#include <algorithm>
#include <chrono>

#include <catch2/catch.hpp>

#include "libs/base/file.h"
#include "libs/testing/await.h"
#include "libs/testing/mini_cluster.h"

namespace dstack {
namespace {

using namespace std::chrono_literals;
using Catch::Matchers::Contains;
using Catch::Matchers::EndsWith;
using Catch::Matchers::StartsWith;
using testing::MiniCluster;
using Clock = std::chrono::steady_clock;

// Goes on for ever, together with a child that has left its session; neither minds SIGTERM.
const std::vector<std::string> kStubborn = {
    "trap 'echo asked' TERM",
    "(trap '' TERM; setsid sh -c 'while :; do sleep 0.1; done' >/dev/null 2>&1 &)",
    "echo ready",
    "while :; do sleep 0.05; done"};
const std::vector<std::string> kPolite = {
    "trap 'echo last words; exit 0' TERM", "echo ready", "while :; do sleep 0.05; done"};

bool IsAnyAlive(const std::vector<pid_t>& pids) {
  return std::any_of(pids.begin(), pids.end(), [](pid_t pid) {
    return base::Exists("/proc/" + std::to_string(pid));
  });
}

// The task runs and has said "ready".
void StartTask(const MiniCluster& cluster,
               const std::string& name,
               const std::vector<std::string>& commands,
               const std::string& more = "") {
  cluster.CliOk({"apply", "-d", "-y", "-f", cluster.WriteTask(name, commands, more)});
  cluster.AwaitRun(name, "running");
  const auto logs = cluster.StartCli({"logs", name});
  logs->AwaitOut("ready\n");
}

void StopEndsTheWholeTreeAfter(MiniCluster& cluster) {
  StartTask(cluster, "stubborn-1", kStubborn, "stop_duration: 1s");
  // The shell, its child that left, and mostly a sleep of each.
  std::vector<pid_t> tree;
  testing::Await(10s, [&] { return (tree = cluster.JobTree("stubborn-1")).size() >= 4; });
  const auto begin = Clock::now();
  cluster.CliOk({"stop", "stubborn-1", "-y"});
  cluster.AwaitRun("stubborn-1", "terminated");
  CHECK(Clock::now() - begin >= 1s);
  CHECK(Clock::now() - begin < 10s);
  cluster.AwaitIdle();
  CHECK_FALSE(IsAnyAlive(tree));
  CHECK_THAT(cluster.CliOk({"logs", "stubborn-1"}), Contains("ready\n") && Contains("asked\n"));
  CHECK(cluster.Run("stubborn-1").at("termination_reason") == "stopped_by_user");
}

void StopOfATaskThatEnds(MiniCluster& cluster) {
  StartTask(cluster, "polite-2", kPolite);
  const auto begin = Clock::now();
  cluster.CliOk({"stop", "polite-2", "-y"});
  cluster.AwaitRun("polite-2", "terminated");
  CHECK(Clock::now() - begin < 10s);
  // The shell says "Terminated" of its sleep in between.
  CHECK_THAT(cluster.CliOk({"logs", "polite-2"}),
             StartsWith("ready\n") && EndsWith("last words\n"));
  // Again: nothing changes, and it is no error.
  cluster.CliOk({"stop", "polite-2", "-y"});
  CHECK(cluster.RunStatus("polite-2") == "terminated");
  cluster.AwaitIdle();
}

void AbortLeavesNoGrace(MiniCluster& cluster) {
  StartTask(cluster, "stubborn-3", kStubborn);
  const std::vector<pid_t> tree = cluster.JobTree("stubborn-3");
  const auto begin = Clock::now();
  cluster.CliOk({"stop", "stubborn-3", "-x", "-y"});
  cluster.AwaitRun("stubborn-3", "terminated");
  CHECK(Clock::now() - begin < 10s);
  cluster.AwaitIdle();
  CHECK_FALSE(IsAnyAlive(tree));
  CHECK(cluster.Run("stubborn-3").at("termination_reason") == "aborted_by_user");
}

void ARunThatWaitsForA(MiniCluster& cluster) {
  StartTask(cluster, "first-4", kPolite);
  cluster.CliOk({"apply", "-d", "-y", "-f", cluster.WriteTask("second-4", {"echo never"})});
  cluster.CliOk({"stop", "second-4", "-y"});
  cluster.AwaitRun("second-4", "terminated");
  CHECK(cluster.RunStatus("first-4") == "running");
  cluster.CliOk({"stop", "first-4", "-y"});
  cluster.AwaitRun("first-4", "terminated");
  cluster.AwaitIdle();
  CHECK(cluster.CliOk({"logs", "second-4"}).empty());
}

void CtrlCAsksYesStopsTheRun(MiniCluster& cluster) {
  const std::string file = cluster.WriteTask("polite-5", kPolite);
  const auto cli = cluster.StartCli({"apply", "-f", file}, /*on_terminal=*/true);
  cli->AwaitOut("Submit the run polite-5? [y/n]:");
  cli->Type("y\n");
  cli->AwaitOut("ready");
  cli->Type("\x03");
  cli->AwaitOut("Stop the run before detaching? [y/n]:");
  cli->Type("y\n");
  CHECK(cli->AwaitExit() == 0);
  CHECK_THAT(cli->out(), Contains("last words") && Contains("Stopped"));
  CHECK(cluster.RunStatus("polite-5") == "terminated");
  cluster.AwaitIdle();
}

void ASecondCtrlCAborts(MiniCluster& cluster) {
  const std::string file = cluster.WriteTask("stubborn-6", kStubborn);
  const auto cli = cluster.StartCli({"apply", "-f", file}, /*on_terminal=*/true);
  cli->AwaitOut("[y/n]:");
  cli->Type("y\n");
  cli->AwaitOut("ready");
  cli->Type("\x03");
  cli->AwaitOut("Stop the run before detaching? [y/n]:");
  cli->Type("\x03");
  CHECK(cli->AwaitExit() == 0);
  cluster.AwaitRun("stubborn-6", "terminated");
  CHECK(cluster.Run("stubborn-6").at("termination_reason") == "aborted_by_user");
  cluster.AwaitIdle();
}

void WithYCtrlCLeavesAndThe(MiniCluster& cluster) {
  const std::string file = cluster.WriteTask("polite-7", kPolite);
  const auto cli = cluster.StartCli({"apply", "-y", "-f", file}, /*on_terminal=*/true);
  cli->AwaitOut("ready");
  cli->Type("\x03");
  CHECK(cli->AwaitExit() == 0);
  CHECK_THAT(cli->out(), Contains("dstack stop polite-7"));
  CHECK(cluster.RunStatus("polite-7") == "running");
}

TEST_CASE("stop") {
  static const auto cluster = MiniCluster::Start();
  if (!cluster) return;
  cluster->AwaitIdle();
  SECTION("stop ends the whole tree after its grace, and the last lines arrive") {
    StopEndsTheWholeTreeAfter(*cluster);
  }
  SECTION("stop of a task that ends by itself does not wait for the grace") {
    StopOfATaskThatEnds(*cluster);
  }
  SECTION("abort leaves no grace") { AbortLeavesNoGrace(*cluster); }
  SECTION("a run that waits for a host can be stopped") { ARunThatWaitsForA(*cluster); }
  SECTION("Ctrl-C asks; yes stops the run") { CtrlCAsksYesStopsTheRun(*cluster); }
  SECTION("a second Ctrl-C aborts") { ASecondCtrlCAborts(*cluster); }
  SECTION("with -y Ctrl-C leaves and the run goes on") { WithYCtrlCLeavesAndThe(*cluster); }
}

}  // namespace
}  // namespace dstack
