// The same on a host without a container engine.
#include <chrono>

#include <catch2/catch.hpp>
#include <signal.h>

#include "libs/base/file.h"
#include "libs/testing/await.h"
#include "libs/testing/mini_cluster.h"

namespace dstack {
namespace {

using namespace std::chrono_literals;
using Catch::Matchers::Contains;
using testing::MiniCluster;

void LinesArriveWhileTheTaskRuns(MiniCluster& cluster) {
  CHECK(cluster.Instances("local")[0].at("container_runtime") == "process");
  const std::string file = cluster.WriteTask(
      "hello", {"trap 'echo told; exit 0' USR1", "echo started", "while :; do sleep 0.02; done"});
  const auto cli = cluster.StartCli({"apply", "-f", file, "-y"});
  cli->AwaitOut("started\n");
  CHECK(cli->IsRunning());
  kill(cluster.JobPid("hello"), SIGUSR1);
  CHECK(cli->AwaitExit() == 0);
  CHECK(cli->out() == "started\ntold\n");
  CHECK(cluster.CliOk({"logs", "hello"}) == "started\ntold\n");

  const auto three = cluster.Cli({"apply", "-y", "-f", cluster.WriteTask("three", {"exit 3"})});
  CHECK(three.exit.code == 3);
  const auto unknown =
      cluster.Cli({"apply", "-y", "-f", cluster.WriteTask("unknown", {"nosuchcommand"})});
  CHECK(unknown.exit.code == 127);
  cluster.AwaitIdle();
}

void StopEndsADaemonisedChildToo(MiniCluster& cluster) {
  const std::string file =
      cluster.WriteTask("stubborn",
                        {"trap '' TERM",
                         "(setsid sh -c 'while :; do sleep 0.1; done' >/dev/null 2>&1 &)",
                         "echo ready",
                         "while :; do sleep 0.05; done"},
                        "stop_duration: 1s");
  const auto cli = cluster.StartCli({"apply", "-f", file, "-y"});
  cli->AwaitOut("ready\n");
  const std::vector<pid_t> tree = cluster.JobTree("stubborn");
  cluster.CliOk({"stop", "stubborn", "-y"});
  cluster.AwaitRun("stubborn", "terminated");
  static_cast<void>(cli->AwaitExit());
  cluster.AwaitIdle();
  for (const pid_t pid : tree) CHECK_FALSE(base::Exists("/proc/" + std::to_string(pid)));
}

void ARunWithAnImageFinds(MiniCluster& cluster) {
  const auto result =
      cluster.Cli({"apply", "-y", "-f", cluster.WriteTask("image", {"true"}, "image: busybox")});
  CHECK(result.exit.code != 0);
  CHECK(cluster.RunStatus("image") != "done");
}

TEST_CASE("process host") {
  static const auto cluster = MiniCluster::Start({.runtime = MiniCluster::Runtime::kProcess});
  if (!cluster) return;
  cluster->AwaitIdle();
  SECTION("lines arrive while the task runs, and exit codes") {
    LinesArriveWhileTheTaskRuns(*cluster);
  }
  SECTION("stop ends a daemonised child too") { StopEndsADaemonisedChildToo(*cluster); }
  SECTION("a run with an image finds no offer") { ARunWithAnImageFinds(*cluster); }
}

}  // namespace
}  // namespace dstack
