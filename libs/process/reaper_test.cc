#include "libs/process/reaper.h"

#include <algorithm>
#include <cstdlib>

#include <catch2/catch.hpp>
#include <sys/wait.h>
#include <unistd.h>

#include "libs/testing/await.h"

namespace dstack::process {
namespace {

using namespace std::chrono_literals;

bool Contains(const std::vector<pid_t>& pids, pid_t pid) {
  return std::find(pids.begin(), pids.end(), pid) != pids.end();
}

TEST_CASE("descendants are found through their parents") {
  auto child = Subprocess::Start({"sh", "-c", "sleep 1000 & sleep 1000 & wait"});
  REQUIRE(child.ok());
  testing::AwaitEqual(
      5s, [&] { return ChildrenOf(child->pid()).size(); }, 2U);
  CHECK(Contains(ChildrenOf(getpid()), child->pid()));
  const std::vector<pid_t> tree = DescendantsOf(getpid());
  CHECK(Contains(tree, child->pid()));
  CHECK(Contains(tree, ChildrenOf(child->pid()).front()));
}

TEST_CASE("a subreaper collects orphans but not the kept child") {
  REQUIRE(BecomeSubreaper().ok());
  auto kept = Subprocess::Start({"sh", "-c", "(sh -c 'exit 7' & exec sleep 0) ; exit 3"});
  REQUIRE(kept.ok());
  std::vector<Reaped> orphans;
  testing::Await(5s, [&] {
    for (const Reaped& one : ReapOrphans({kept->pid()})) orphans.push_back(one);
    return !orphans.empty();
  });
  CHECK(orphans.front().exit.code == 7);
  CHECK(kept->WaitUntil(base::DeadlineIn(20s))->code == 3);
}

TEST_CASE("killing descendants gets daemons too") {
  REQUIRE(BecomeSubreaper().ok());
  auto child = Subprocess::Start({"sh", "-c", "setsid sh -c 'sleep 1000 & sleep 1000' & exit 0"});
  REQUIRE(child.ok());
  REQUIRE(child->WaitUntil(base::DeadlineIn(20s)).ok());
  testing::Await(5s, [] { return DescendantsOf(getpid()).size() >= 2; });
  auto kept = Subprocess::Start({"sleep", "1000"});
  REQUIRE(kept.ok());
  REQUIRE(KillDescendants(getpid(), base::DeadlineIn(10s), {kept->pid()}).ok());
  CHECK(ChildrenOf(getpid()) == std::vector<pid_t>{kept->pid()});
}

}  // namespace
}  // namespace dstack::process
