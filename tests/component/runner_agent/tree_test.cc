// Process trees that do not want to end.
#include <chrono>
#include <string>

#include <catch2/catch.hpp>
#include <signal.h>

#include "libs/base/file.h"
#include "libs/process/proc_stat.h"
#include "libs/testing/await.h"
#include "tests/component/runner_agent/fixture.h"

namespace dstack::runner {
namespace {

using common::v1::LOG_SOURCE_JOB;
using common::v1::LOG_SOURCE_RUNNER;
using namespace std::chrono_literals;

// Processes whose command line names `path`.
int CountProcesses(const std::string& path) {
  int count = 0;
  for (const process::ProcessEntry& process : process::ListProcesses()) {
    const std::string line =
        base::ReadFile("/proc/" + std::to_string(process.pid) + "/cmdline").value_or("");
    if (process.state != 'Z' && line.find(path) != std::string::npos) ++count;
  }
  return count;
}

TEST_CASE("a chain of processes that each start the next in a new session and end is caught") {
  Fixture f;
  const std::string script = f.runner.Path("chain.sh");
  // No process of it lives longer than its program takes to start.
  REQUIRE(base::WriteFileAtomic(
              script, "trap '' TERM HUP INT\nsetsid sh \"$0\" >/dev/null 2>&1 </dev/null &\n")
              .ok());
  f.Run(
      MakeShellJob("sh " + script + "; sh " + script + "; echo ready; while :; do sleep 1; done"));
  f.client->AwaitText(LOG_SOURCE_JOB, "ready");
  testing::Await(20s, [&] { return CountProcesses(script) > 0; });
  f.client->StopJob(0.1);
  CHECK(f.Finish().finish_reason() == v1::FINISH_REASON_STOPPED);
  CHECK(CountProcesses(script) == 0);
}

TEST_CASE("hundreds of processes in groups and sessions of their own end with the job") {
  Fixture f;
  const std::string script = f.runner.Path("sleeper.sh");
  REQUIRE(base::WriteFileAtomic(script, "trap '' TERM\nwhile :; do sleep 100; done\n").ok());
  f.Run(MakeShellJob("i=0; while [ $i -lt 60 ]; do setsid sh " + script + " & sh " + script +
                     " & i=$((i+1)); done; echo ready; wait"));
  f.client->AwaitText(LOG_SOURCE_JOB, "ready");
  f.client->StopJob(0);
  f.Finish();
  CHECK(CountProcesses(script) == 0);
}

TEST_CASE("a background process that keeps the terminal open does not keep the job running") {
  Fixture f;
  f.Run(MakeShellJob("(trap '' TERM HUP; while :; do sleep 100; done) & exit 7"));
  const v1::JobStatus status = f.Finish();
  CHECK(status.exit_status() == 7);
  CHECK(f.store.text[LOG_SOURCE_RUNNER].find("left behind") != std::string::npos);
}

TEST_CASE("a signal of the command is named") {
  Fixture f;
  f.Run(MakeShellJob("kill -SEGV $$"));
  CHECK(f.Finish().signal() == SIGSEGV);
  CHECK(f.store.text[LOG_SOURCE_RUNNER].find("ended by signal 11 (SEGV)") != std::string::npos);
}

}  // namespace
}  // namespace dstack::runner
