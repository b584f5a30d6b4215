#include "libs/process/reaper.h"

#include <algorithm>
#include <csignal>
#include <vector>

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

TEST_CASE("a live child is told apart from a zombie, and one that an ended child left is found") {
  REQUIRE(BecomeSubreaper().ok());
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  // Starts another, tells who it is, and stays; so does the other.
  const pid_t first = fork();
  if (first == 0) {
    const pid_t second = fork();
    if (second > 0 && write(ends[1], &second, sizeof second) < 0) _exit(1);
    pause();
    _exit(0);
  }
  pid_t second = 0;
  REQUIRE(read(ends[0], &second, sizeof second) == sizeof second);
  CHECK(LiveChildrenOf(getpid(), {}) == std::vector<pid_t>{first});
  CHECK(LiveChildrenOf(getpid(), {first}).empty());
  siginfo_t info;
  REQUIRE(kill(first, SIGKILL) == 0);
  REQUIRE(waitid(P_PID, static_cast<id_t>(first), &info, WEXITED | WNOWAIT) == 0);
  CHECK(ChildrenOf(getpid()).size() == 2);
  CHECK(LiveChildrenOf(getpid(), {}) == std::vector<pid_t>{second});
  REQUIRE(kill(second, SIGKILL) == 0);
  REQUIRE(waitid(P_PID, static_cast<id_t>(second), &info, WEXITED | WNOWAIT) == 0);
  CHECK(LiveChildrenOf(getpid(), {}).empty());
  CHECK(ReapOrphans({}).size() == 2);
  CHECK(ChildrenOf(getpid()).empty());
  close(ends[0]);
  close(ends[1]);
}

}  // namespace
}  // namespace dstack::process
