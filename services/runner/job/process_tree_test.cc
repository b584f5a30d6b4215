#include "services/runner/job/process_tree.h"

#include <algorithm>
#include <csignal>

#include <catch2/catch.hpp>
#include <unistd.h>

#include "libs/process/subprocess.h"
#include "libs/testing/temp_dir.h"

namespace dstack::runner {
namespace {

using process::ProcessEntry;

TEST_CASE("the job's processes below a subreaper") {
  // 10 is ours; 11 is serve with a helper 12; 20 is the command with a zombie 22; 30 is a daemon
  // that came to us; 99 belongs to the host.
  const std::vector<ProcessEntry> processes = {{1, 0, 'S'},
                                               {10, 1, 'S'},
                                               {11, 10, 'S'},
                                               {12, 11, 'S'},
                                               {20, 10, 'R'},
                                               {21, 20, 'S'},
                                               {22, 20, 'Z'},
                                               {30, 10, 'T'},
                                               {99, 1, 'S'}};
  CHECK(JobProcesses(processes, 10, {11}) == std::vector<pid_t>{20, 21, 30});
}

TEST_CASE("the job's processes in a pid namespace of its own") {
  // 7 was put there from outside (docker exec) and has no parent here.
  const std::vector<ProcessEntry> processes = {
      {1, 0, 'S'}, {2, 1, 'S'}, {3, 2, 'S'}, {5, 1, 'S'}, {7, 0, 'S'}};
  CHECK(JobProcesses(processes, 1, {2}) == std::vector<pid_t>{5, 7});
}

// What processes do while a list is made decides whether it has them; an empty one is the worst.
TEST_CASE("a process that a list misses is found as a child") {
  const testing::TempDir no_list;
  auto child = process::Subprocess::Start({"sleep", "1000"});
  REQUIRE(child.ok());
  CHECK(FindJobProcesses(getpid(), {}, no_list.path()) == std::vector<pid_t>{child->pid()});
  CHECK(FindJobProcesses(getpid(), {child->pid()}, no_list.path()).empty());
}

TEST_CASE("a group is signalled as one only when all its members are the job's") {
  const std::vector<ProcessEntry> processes = {{10, 1, 'S', 10},
                                               {20, 10, 'R', 20},
                                               {21, 20, 'S', 20},
                                               {22, 20, 'S', 10},
                                               {23, 20, 'S', 1},
                                               {24, 20, 'S', 0},
                                               {30, 1, 'Z', 31},
                                               {31, 10, 'S', 31}};
  CHECK(WholeGroups(processes, {20, 21, 22, 23, 24, 31}) == std::vector<pid_t>{20, 31});
}

TEST_CASE("what a process ignores") {
  const std::string_view shell =
      "Name:\tbash\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000384004\nSigCgt:"
      "\t000000004b813efb\n";
  CHECK(IgnoresSignal(shell, SIGTERM));
  CHECK(IgnoresSignal(shell, SIGQUIT));
  CHECK_FALSE(IgnoresSignal(shell, SIGHUP));
  CHECK_FALSE(IgnoresSignal("", SIGTERM));
  CHECK_FALSE(IgnoresSignal("Name:\tx\nSigIgn:\t", SIGTERM));
}

}  // namespace
}  // namespace dstack::runner
