// Behaviours that users of the runner rely on, each case named after its row in the list. Where
// this runner does better on purpose the case says so, and .github/docs/DIFFERENCES.md tells users.
#include <algorithm>
#include <chrono>
#include <string>

#include <catch2/catch.hpp>
#include <pwd.h>
#include <signal.h>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/testing/await.h"
#include "tests/component/runner_agent/fixture.h"

namespace dstack::runner {
namespace {

using common::v1::LOG_SOURCE_JOB;
using namespace std::chrono_literals;

TEST_CASE("R3 a tilde in the command is the home of the job's user") {
  Fixture f;
  f.Run(MakeShellJob("echo ~"));
  f.Finish();
  CHECK(f.store.text[LOG_SOURCE_JOB] == std::string(getpwuid(geteuid())->pw_dir) + "\n");
}

TEST_CASE("R4 exit code 100 is in the last status") {
  Fixture f;
  f.Run(MakeShellJob("exit 100"));
  const v1::JobStatus status = f.Finish();
  CHECK(status.exit_status() == 100);
  CHECK(status.finish_reason() == v1::FINISH_REASON_EXITED);
}

TEST_CASE("R7 a crash of the runner itself is reported, with the output up to it") {
  Fixture f;
  f.Run(MakeShellJob("echo before; cat"));
  f.client->AwaitText(LOG_SOURCE_JOB, "before");
  f.client.reset();
  f.runner.KillSupervisor();
  f.runner.StartDeliver();
  f.client.emplace(f.runner.Target(), f.runner.token(), f.store);
  const v1::JobStatus status = f.Finish();
  CHECK(status.finish_reason() == v1::FINISH_REASON_LOST);
  CHECK(status.message() == "the container ended before the command's end was seen");
  CHECK(f.store.text[LOG_SOURCE_JOB] == "before\n");
}

TEST_CASE("R8 max_duration kills the command after the grace") {
  Fixture f;
  v1::JobSpec job = MakeShellJob("trap '' TERM; echo ready; while :; do sleep 0.05; done");
  job.mutable_max_duration()->set_nanos(300'000'000);
  job.mutable_stop_duration()->set_nanos(200'000'000);
  const auto start = std::chrono::steady_clock::now();
  f.Run(job);
  const v1::JobStatus status = f.Finish();
  CHECK(status.finish_reason() == v1::FINISH_REASON_MAX_DURATION_EXCEEDED);
  CHECK(status.signal() == SIGKILL);
  CHECK(std::chrono::steady_clock::now() - start >= 500ms);
}

TEST_CASE("R9 too much output never ends a job: by policy a marker tells what is missing") {
  Fixture f({"--log-spool-bytes", "200000", "--log-overflow", "drop"});
  f.runner.Start();
  {
    SessionClient starter(f.runner.Target(), f.runner.token(), f.store);
    starter.Submit(MakeShellJob("while ! test -e " + f.runner.Path("go") +
                                "; do sleep 0.01; done; seq 1 200000"));
    starter.StartJob();
    starter.AwaitState(v1::JOB_STATE_RUNNING);
  }
  REQUIRE(base::WriteFileAtomic(f.runner.Path("go"), "").ok());
  testing::Await(30s, [&] { return base::Exists(f.runner.Path("exit.pb")); });
  f.client.emplace(f.runner.Target(), f.runner.token(), f.store);
  CHECK(f.Finish().exit_status() == 0);
  CHECK(f.store.dropped_bytes > 0);
  constexpr std::size_t kSeqBytes = 1288895;
  CHECK(f.store.text[LOG_SOURCE_JOB].size() + f.store.dropped_bytes == kSeqBytes);
}

TEST_CASE("L1 the log equals the text and times never decrease") {
  Fixture f;
  f.Run(MakeShellJob("for i in 1 2 3 4 5; do echo line $i; sleep 0.01; done"));
  f.Finish();  // checks the times
  CHECK(f.store.text[LOG_SOURCE_JOB] == "line 1\nline 2\nline 3\nline 4\nline 5\n");
}

TEST_CASE("L2 both outputs are captured, also of a command that fails") {
  Fixture f;
  f.Run(MakeShellJob("echo out; echo err >&2; exit 3"));
  CHECK(f.Finish().exit_status() == 3);
  CHECK(f.store.text[LOG_SOURCE_JOB] == "out\nerr\n");
}

TEST_CASE("L3 escape codes are kept in the one log that there is") {
  Fixture f;
  f.Run(MakeShellJob("printf '\\033[31mred\\033[0m\\r\\n'"));
  f.Finish();
  CHECK(f.store.text[LOG_SOURCE_JOB] == "\x1b[31mred\x1b[0m\r\n");
}

TEST_CASE("L4 records within a second are told apart by sequence and nanoseconds") {
  Fixture f;
  f.Run(MakeShellJob("i=0; while [ $i -lt 50 ]; do echo $i; sleep 0.002; i=$((i+1)); done"));
  f.Finish();
  CHECK(f.store.positions[LOG_SOURCE_JOB] > 10);
  CHECK(std::count(
            f.store.text[LOG_SOURCE_JOB].begin(), f.store.text[LOG_SOURCE_JOB].end(), '\n') == 50);
}

TEST_CASE("L5 more than 999 events in a second lose nothing, also over a lost session") {
  Fixture f;
  f.Run(MakeShellJob("seq 1 20000; cat"));
  f.client->AwaitText(LOG_SOURCE_JOB, "5000\n");
  f.client.reset();
  f.client.emplace(f.runner.Target(), f.runner.token(), f.store);
  f.client->AwaitText(LOG_SOURCE_JOB, "20000\n");
  f.client->StopJob(0);
  f.Finish();
  CHECK(f.store.text[LOG_SOURCE_JOB].size() == 108894);
}

}  // namespace
}  // namespace dstack::runner
