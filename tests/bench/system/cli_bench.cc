// Commands that only ask the server.
#include <catch2/catch.hpp>
#include <unistd.h>

#include "libs/testing/mini_cluster.h"
#include "tests/bench/system/figures.h"

namespace dstack::bench {
namespace {

using testing::MiniCluster;

constexpr int kCommands = 50;

// When the terminal first showed the text.
double ShownAfterMs(const testing::LiveProgram& program,
                    const std::string& text,
                    SteadyClock::time_point begin) {
  program.AwaitOut(text);
  const std::size_t end = program.out().find(text) + text.size();
  for (const auto& arrival : program.arrivals()) {
    if (arrival.end >= end) return Milliseconds(arrival.at - begin);
  }
  FAIL("no arrival has the text " << text);
  return 0;
}

TEST_CASE("ps and plan") {
  const auto cluster = MiniCluster::Start();
  if (!cluster) return;
  for (int i = 0; i < 10; ++i) {
    const std::string name = "old-" + std::to_string(i);
    cluster->CliOk({"apply", "-y", "-f", cluster->WriteTask(name, {"true"})});
  }
  cluster->AwaitIdle();

  Samples wall;
  Samples peak;
  for (int i = 0; i < kCommands; ++i) {
    const ProgramCost ps = MeasureCli(*cluster, {"ps", "-a"});
    REQUIRE(ps.status == 0);
    wall.Add(ps.wall_ms);
    peak.Add(ps.peak_mb);
  }
  wall.PrintPercentiles("ps_wall", "ms");
  Print("ps_rss", peak.At(1), "MB");
  const double ours = ResidentMb(getpid(), "VmHWM");
  if (ours >= peak.At(1)) WARN("ps_rss is at most that, this process had " << ours << " MB");

  const std::string file = cluster->WriteTask("asked", {"true"});
  Samples plan;
  for (int i = 0; i < kCommands; ++i) {
    const auto begin = SteadyClock::now();
    const auto apply = cluster->StartCli({"apply", "-f", file}, /*on_terminal=*/true);
    plan.Add(ShownAfterMs(*apply, "[y/n]:", begin));
    apply->Type("n\n");
    CHECK(apply->AwaitExit() == 0);
  }
  plan.PrintPercentiles("plan_wall", "ms");
}

}  // namespace
}  // namespace dstack::bench
