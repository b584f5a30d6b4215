// Hosts out of reach, and servers that die for good.
#include <chrono>

#include <catch2/catch.hpp>
#include <signal.h>

#include "libs/process/alive.h"
#include "libs/testing/await.h"
#include "libs/testing/mini_cluster.h"
#include "libs/testing/mini_postgres.h"
#include "tests/fault/counting.h"

namespace dstack::fault {
namespace {

using namespace std::chrono_literals;
using testing::MiniCluster;
using Clock = std::chrono::steady_clock;

bool IsUnreachable(const MiniCluster& cluster, const std::string& fleet) {
  return cluster.Instances(fleet)[0].at("is_unreachable");
}

void CutsAreNotFailures(MiniCluster& cluster, testing::MiniSshd& host) {
  SECTION("connections are reset again and again") {
    Counting counting(cluster, "reset", 250);
    for (const int seen : {20, 60, 100}) {
      counting.Await(seen);
      host.CutConnections();
    }
    counting.CheckEnd();
    cluster.AwaitIdle("far");
  }
  SECTION("nobody answers for a while") {
    Counting counting(cluster, "silence", 250);
    counting.Await(20);
    host.Pause();
    testing::Await(40s, [&] { return IsUnreachable(cluster, "far"); });
    CHECK(cluster.Submission("silence").at("is_unreachable") == true);
    CHECK(cluster.RunStatus("silence") == "running");
    host.Resume();
    counting.CheckEnd();
    cluster.AwaitIdle("far");
    CHECK_FALSE(IsUnreachable(cluster, "far"));
  }
  SECTION("sshd is away, and back when the task has ended") {
    Counting counting(cluster, "away", 60);
    counting.Await(20);
    const pid_t job = cluster.JobPid("away");
    host.Kill();
    testing::Await(30s, [&] { return !process::IsAlive(job); });
    testing::Await(40s, [&] { return IsUnreachable(cluster, "far"); });
    host.Start();
    counting.CheckEnd();
    cluster.AwaitIdle("far");
  }
}

TEST_CASE("a cut is not a failure") {
  static testing::MiniSshd* host = nullptr;
  static const auto cluster = MiniCluster::Start({.has_local_host = false});
  if (!cluster) return;
  if (host == nullptr) host = &cluster->AddHost("far");
  cluster->AwaitIdle("far");
  CutsAreNotFailures(*cluster, *host);
}

TEST_CASE("a cut of more than a minute is not a failure") {
  const auto cluster = MiniCluster::Start({.has_local_host = false});
  if (!cluster) return;
  testing::MiniSshd& host = cluster->AddHost("far");
  Counting counting(*cluster, "minute", 4500);
  counting.Await(20);
  const auto end = Clock::now() + 75s;
  host.Pause();
  testing::Await(40s, [&] { return IsUnreachable(*cluster, "far"); });
  // The case is about this time.
  testing::Await(80s, [&] { return Clock::now() >= end; });
  CHECK(cluster->RunStatus("minute") == "running");
  host.Resume();
  counting.CheckEnd();
  cluster->AwaitIdle("far");
}

MiniCluster::Options Replica(const std::string& database) {
  return {
      .has_local_host = false,
      .database_url = database,
      .server_env = {"DSTACK_SERVER_ENCRYPTION_KEY=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
                     "DSTACK_SERVER_ADMIN_TOKEN=token-of-both-replicas"}};
}

TEST_CASE("another replica takes the hosts of a dead one over within 10 s") {
  const std::string database = testing::MiniPostgres::Get().NewDatabase();
  const auto first = MiniCluster::Start(Replica(database));
  if (!first) return;
  // Before the second exists: the host belongs to the first.
  first->AddHost("shared");
  const auto second = MiniCluster::Start(Replica(database));
  Counting counting(*second, "orphan", 900);
  counting.Await(20);
  first->KillServer();
  const int at_death = counting.Last();
  const auto death = Clock::now();
  counting.Await(at_death + 100, 30s);
  // 100 lines take 2 s by themselves.
  CHECK(Clock::now() - death < 10s + 2s);
  counting.CheckEnd();
  second->AwaitIdle("shared");
}

TEST_CASE("a replica that slept beyond its lease changes nothing when it wakes up") {
  const std::string database = testing::MiniPostgres::Get().NewDatabase();
  const auto first = MiniCluster::Start(Replica(database));
  if (!first) return;
  // Before the second exists: the host belongs to the first.
  first->AddHost("shared");
  const auto second = MiniCluster::Start(Replica(database));
  Counting counting(*second, "sleeper", 900);
  counting.Await(20);
  first->SignalServer(SIGSTOP);
  const int at_stop = counting.Last();
  counting.Await(at_stop + 100, 30s);
  first->SignalServer(SIGCONT);
  // It still holds the old connections, and learns that the host is not its own any more.
  const int at_wake = counting.Last();
  counting.Await(at_wake + 150);
  counting.CheckEnd();
  second->AwaitIdle("shared");
}

}  // namespace
}  // namespace dstack::fault
