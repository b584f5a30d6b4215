// kill -9 of every process while a task prints numbers.
#include <chrono>

#include <catch2/catch.hpp>
#include <signal.h>

#include "libs/process/alive.h"
#include "libs/testing/await.h"
#include "libs/testing/mini_cluster.h"
#include "tests/fault/counting.h"

namespace dstack::fault {
namespace {

using namespace std::chrono_literals;
using testing::MiniCluster;

// About 5 s of output: enough for what was killed to come back while it runs.
constexpr int kCount = 250;

// Kills what `find` names, when 50 lines have been seen; the same happens once more a second later.
template <typename Find>
void SurvivesKills(MiniCluster& cluster, const std::string& name, Find find) {
  Counting counting(cluster, name, kCount);
  counting.Await(50);
  const pid_t first = find();
  REQUIRE(first > 0);
  kill(first, SIGKILL);
  counting.Await(100);
  const pid_t second = find();
  CHECK(second != first);
  kill(second, SIGKILL);
  counting.CheckEnd();
  cluster.AwaitIdle();
}

void AllSurvive(MiniCluster& cluster) {
  SECTION("of the shim") {
    SurvivesKills(cluster, "shim", [&] { return cluster.ShimPid(); });
  }
  SECTION("of the runner's service") {
    SurvivesKills(cluster, "serve", [&] { return cluster.RunnerServePid("serve"); });
  }
  SECTION("of the ssh master") {
    SurvivesKills(cluster, "master", [&] { return cluster.SshMasterPid(); });
  }
  SECTION("of PostgreSQL") {
    SurvivesKills(cluster, "postgres", [&] { return cluster.PostgresPid(); });
  }
  SECTION("of the server") {
    Counting counting(cluster, "server", kCount);
    for (const int seen : {50, 100}) {
      counting.Await(seen);
      cluster.KillServer();
      cluster.StartServer();
    }
    counting.CheckEnd();
    cluster.AwaitIdle();
  }
  SECTION("of the server, which comes back when the task has long ended") {
    Counting counting(cluster, "late", 60);
    counting.Await(20);
    const pid_t job = cluster.JobPid("late");
    cluster.KillServer();
    testing::Await(30s, [&] { return !process::IsAlive(job); });
    cluster.StartServer();
    counting.CheckEnd();
    cluster.AwaitIdle();
  }
  SECTION("of everything at once") {
    Counting counting(cluster, "all", kCount);
    counting.Await(50);
    const pid_t postgres = cluster.PostgresPid();
    const pid_t shim = cluster.ShimPid();
    const pid_t serve = cluster.RunnerServePid("all");
    cluster.KillServer();
    for (const pid_t pid : {postgres, shim, serve}) kill(pid, SIGKILL);
    cluster.StartServer();
    counting.CheckEnd();
    cluster.AwaitIdle();
  }
}

TEST_CASE("a task survives kill -9") {
  static const auto cluster = MiniCluster::Start();
  if (!cluster) return;
  cluster->AwaitIdle();
  AllSurvive(*cluster);
}

TEST_CASE("a process task survives kill -9") {
  static const auto cluster = MiniCluster::Start({.runtime = MiniCluster::Runtime::kProcess});
  if (!cluster) return;
  cluster->AwaitIdle();
  SECTION("of the shim") {
    SurvivesKills(*cluster, "shim", [&] { return cluster->ShimPid(); });
  }
  SECTION("of the runner's service") {
    SurvivesKills(*cluster, "serve", [&] { return cluster->RunnerServePid("serve"); });
  }
}

TEST_CASE("a stop survives kill -9 of the server") {
  const auto cluster = MiniCluster::Start();
  if (!cluster) return;
  Counting counting(*cluster, "stopped", 100'000);
  counting.Await(10);
  cluster->CliOk({"stop", "stopped", "-y"});
  cluster->KillServer();
  cluster->StartServer();
  cluster->AwaitRun("stopped", "terminated");
  cluster->AwaitIdle();
}

}  // namespace
}  // namespace dstack::fault
