// A task from `dstack apply` to its exit code.
#include <chrono>

#include <catch2/catch.hpp>
#include <signal.h>

#include "libs/testing/await.h"
#include "libs/testing/mini_cluster.h"

namespace dstack {
namespace {

using namespace std::chrono_literals;
using Catch::Matchers::Contains;
using testing::MiniCluster;

// Prints "started", and ends with 0 on SIGUSR1.
const std::vector<std::string> kUntilSignal = {
    "trap 'echo told; exit 0' USR1", "echo started", "while :; do sleep 0.02; done"};

void LinesArriveWhileTheTaskRuns(MiniCluster& cluster) {
  const std::string file = cluster.WriteTask("hello", kUntilSignal);
  const auto cli = cluster.StartCli({"apply", "-f", file, "-y"});
  cli->AwaitOut("started\n");
  CHECK(cli->IsRunning());
  CHECK(cluster.RunStatus("hello") == "running");
  kill(cluster.JobPid("hello"), SIGUSR1);
  CHECK(cli->AwaitExit() == 0);
  CHECK(cli->out() == "started\ntold\n");
  CHECK(cluster.RunStatus("hello") == "done");
  CHECK(cluster.Submission("hello").at("exit_status") == 0);
  CHECK(cluster.CliOk({"logs", "hello"}) == "started\ntold\n");
  cluster.AwaitIdle();
}

void TheExitCodeOfTheCommand(MiniCluster& cluster) {
  const auto result =
      cluster.Cli({"apply", "-y", "-f", cluster.WriteTask("three", {"echo bye", "exit 3"})});
  CHECK(result.exit.code == 3);
  CHECK(result.stdout_text == "bye\n");
  CHECK_THAT(result.stderr_text, Contains("exited (3)"));
  const nlohmann::json submission = cluster.Submission("three");
  CHECK(submission.at("exit_status") == 3);
  CHECK(submission.at("termination_reason") == "container_exited_with_error");
  CHECK(cluster.RunStatus("three") == "failed");

  const auto unknown =
      cluster.Cli({"apply", "-y", "-f", cluster.WriteTask("unknown", {"nosuchcommand"})});
  CHECK(unknown.exit.code == 127);
  CHECK_THAT(unknown.stdout_text, Contains("nosuchcommand: not found"));

  // Without a shell nobody gives an exit code.
  const auto entrypoint = cluster.Cli(
      {"apply", "-y", "-f", cluster.WriteTask("noentry", {}, "entrypoint: /no/such/program")});
  CHECK(entrypoint.exit.code == 1);
  CHECK_THAT(entrypoint.stderr_text, Contains("/no/such/program"));
  cluster.AwaitIdle();
}

void AnImageThatDoesNotExist(MiniCluster& cluster) {
  const std::string file =
      cluster.WriteTask("noimage", {"true"}, "image: 127.0.0.1:1/no/such:image");
  const auto result = cluster.Cli({"apply", "-y", "-f", file});
  CHECK(result.exit.code == 1);
  CHECK_THAT(result.stderr_text, Contains("127.0.0.1:1/no/such:image"));
  CHECK(cluster.RunStatus("noimage") == "failed");
  CHECK(cluster.Submission("noimage").at("termination_reason") == "creating_container_error");
  cluster.AwaitIdle();
}

void ARunWaitsWhileItsHost(MiniCluster& cluster) {
  cluster.CliOk({"apply", "-d", "-y", "-f", cluster.WriteTask("first", kUntilSignal)});
  cluster.AwaitRun("first", "running");
  const auto second =
      cluster.StartCli({"apply", "-y", "-f", cluster.WriteTask("second", {"echo mine"})});
  cluster.AwaitRun("second", "submitted");
  CHECK(cluster.RunStatus("first") == "running");
  kill(cluster.JobPid("first"), SIGUSR1);
  CHECK(second->AwaitExit() == 0);
  CHECK(second->out() == "mine\n");
  CHECK(cluster.RunStatus("first") == "done");
  cluster.AwaitIdle();
}

TEST_CASE("two tasks run side by side on the blocks of one host") {
  const auto cluster = MiniCluster::Start({.has_local_host = false});
  if (!cluster) return;
  cluster->AddHost("halves", 2);
  for (const char* name : {"left", "right"}) {
    cluster->CliOk({"apply", "-d", "-y", "-f", cluster->WriteTask(name, kUntilSignal)});
  }
  cluster->AwaitRun("left", "running");
  cluster->AwaitRun("right", "running");
  const nlohmann::json instances = cluster->Instances("halves");
  REQUIRE(instances.size() == 1);
  CHECK(instances[0].at("busy_blocks") == 2);
  CHECK(instances[0].at("total_blocks") == 2);
  for (const char* name : {"left", "right"}) {
    kill(cluster->JobPid(name), SIGUSR1);
    cluster->AwaitRun(name, "done");
  }
  cluster->AwaitIdle("halves");
}

TEST_CASE("a task") {
  static const auto cluster = MiniCluster::Start();
  if (!cluster) return;
  cluster->AwaitIdle();
  SECTION("lines arrive while the task runs, and it ends with 0") {
    LinesArriveWhileTheTaskRuns(*cluster);
  }
  SECTION("the exit code of the command is that of apply") { TheExitCodeOfTheCommand(*cluster); }
  SECTION("an image that does not exist fails the run by its name") {
    AnImageThatDoesNotExist(*cluster);
  }
  SECTION("a run waits while its host is full, and starts when it is free") {
    ARunWaitsWhileItsHost(*cluster);
  }
}

}  // namespace
}  // namespace dstack
