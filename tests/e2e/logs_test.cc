// Logs, followed in every way.
#include <chrono>

#include <catch2/catch.hpp>
#include <fmt/format.h>
#include <signal.h>

#include "libs/testing/await.h"
#include "libs/testing/mini_cluster.h"

namespace dstack {
namespace {

using namespace std::chrono_literals;
using testing::MiniCluster;

// 1 to `count`, a line each.
std::string Numbers(int count) {
  std::string text;
  for (int i = 1; i <= count; ++i) text += std::to_string(i) + "\n";
  return text;
}

void WhoeverComesLaterReadsFromThe(MiniCluster& cluster) {
  const std::string file = cluster.WriteTask(
      "count", {"trap 'echo end; exit 0' USR1", "seq 1 1000", "while :; do sleep 0.02; done"});
  cluster.CliOk({"apply", "-d", "-y", "-f", file});
  cluster.AwaitRun("count", "running");
  const auto first = cluster.StartCli({"logs", "count"});
  const auto second = cluster.StartCli({"logs", "count"});
  first->AwaitOut("\n1000\n");
  second->AwaitOut("\n1000\n");
  CHECK(first->IsRunning());
  kill(cluster.JobPid("count"), SIGUSR1);
  CHECK(first->AwaitExit() == 0);
  CHECK(second->AwaitExit() == 0);
  const std::string all = Numbers(1000) + "end\n";
  CHECK(first->out() == all);
  CHECK(second->out() == all);
  CHECK(cluster.CliOk({"logs", "count"}) == all);
  cluster.AwaitIdle();
}

void ApplyThatIsKilledLosesNothing(MiniCluster& cluster) {
  const std::string file = cluster.WriteTask(
      "killed", {"trap 'exit 0' USR1", "seq 1 100", "while :; do sleep 0.02; done"});
  const auto cli = cluster.StartCli({"apply", "-y", "-f", file});
  cli->AwaitOut("\n100\n");
  cli->Signal(SIGKILL);
  CHECK(cli->AwaitExit() == 128 + SIGKILL);
  kill(cluster.JobPid("killed"), SIGUSR1);
  cluster.AwaitRun("killed", "done");
  CHECK(cluster.CliOk({"logs", "killed"}) == Numbers(100));
}

void FloodIsStoredWhole(MiniCluster& cluster) {
  const std::string file = cluster.WriteTask("flood", {"seq 1 200000"});
  const std::string all = Numbers(200'000);
  // Not compared by CHECK: it would print megabytes.
  const std::string live = cluster.CliOk({"apply", "-y", "-f", file}, 120s);
  CHECK(live.size() == all.size());
  CHECK((live == all));
  const std::string stored = cluster.CliOk({"logs", "flood"}, 120s);
  CHECK(stored.size() == all.size());
  CHECK((stored == all));
  CHECK(cluster.RunStatus("flood") == "done");
  cluster.AwaitIdle();
}

void BytesThatAreNoTextArrive(MiniCluster& cluster) {
  // All bytes but the terminal's control characters, a line of 100,000 bytes, and no newline at the
  // end.
  const std::string file = cluster.WriteTask(
      "bytes",
      {R"(printf '\200\377\376\n')", "head -c 100000 /dev/zero | tr '\\000' x", "printf '\\nend'"});
  const std::string all = "\x80\xff\xfe\n" + std::string(100'000, 'x') + "\nend";
  CHECK((cluster.CliOk({"apply", "-y", "-f", file}) == all));
  CHECK((cluster.CliOk({"logs", "bytes"}) == all));
}

TEST_CASE("logs") {
  static const auto cluster = MiniCluster::Start();
  if (!cluster) return;
  cluster->AwaitIdle();
  SECTION("whoever comes later reads from the first line, and two may at once") {
    WhoeverComesLaterReadsFromThe(*cluster);
  }
  SECTION("apply that is killed loses nothing") { ApplyThatIsKilledLosesNothing(*cluster); }
  SECTION("200,000 lines in one go are all stored, and can be read again") {
    FloodIsStoredWhole(*cluster);
  }
  SECTION("bytes that are no text arrive as they were written") {
    BytesThatAreNoTextArrive(*cluster);
  }
}

}  // namespace
}  // namespace dstack
