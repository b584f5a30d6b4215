#include <chrono>
#include <string>

#include <catch2/catch.hpp>
#include <signal.h>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/process/alive.h"
#include "libs/testing/await.h"
#include "tests/component/runner_agent/fixture.h"

namespace dstack::runner {
namespace {

using common::v1::LOG_SOURCE_JOB;
using namespace std::chrono_literals;

v1::JobSpec MakeInteractiveJob(const std::string& script) {
  v1::JobSpec job = MakeShellJob("");
  job.clear_command();
  for (const char* word : {"/bin/bash", "-i", "-c"}) job.add_command(word);
  job.add_command(script);
  return job;
}

pid_t PidFromFile(const std::string& path) {
  std::string text;
  testing::Await(20s, [&] {
    text = base::ReadFile(path).value_or("");
    return text.ends_with('\n');
  });
  return std::stoi(text);
}

TEST_CASE("W1 output after a stop arrives: the command has time to say goodbye") {
  Fixture f;
  f.Run(MakeShellJob("trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.01; done"));
  f.client->AwaitText(LOG_SOURCE_JOB, "ready");
  f.client->StopJob(20);
  const v1::JobStatus status = f.Finish();
  CHECK(status.finish_reason() == v1::FINISH_REASON_STOPPED);
  CHECK(status.exit_status() == 0);
  CHECK(f.store.text[LOG_SOURCE_JOB].ends_with("bye\n"));
}

TEST_CASE("W4 stop kills what ignores SIGTERM, daemons included") {
  Fixture f;
  const std::string pid_file = f.runner.Path("daemon");
  f.Run(MakeShellJob("trap '' TERM; (setsid sh -c 'trap \"\" TERM; echo $$ > " + pid_file +
                     "; while :; do sleep 1; done' >/dev/null 2>&1 &) ; echo ready; "
                     "while :; do sleep 0.1; done"));
  f.client->AwaitText(LOG_SOURCE_JOB, "ready");
  const pid_t daemon = PidFromFile(pid_file);
  CHECK(process::IsAlive(daemon));
  const auto before = std::chrono::steady_clock::now();
  f.client->StopJob(0.3);
  const v1::JobStatus status = f.Finish();
  CHECK(status.signal() == SIGKILL);
  CHECK(status.finish_reason() == v1::FINISH_REASON_STOPPED);
  CHECK_FALSE(process::IsAlive(daemon));
  CHECK(std::chrono::steady_clock::now() - before >= 300ms);
}

TEST_CASE("a loop in an interactive shell ends with the command that ran in it") {
  Fixture f;
  // The first round takes its time to end, which the stop must leave to it.
  f.Run(MakeInteractiveJob(
      "while :; do sh -c 'trap \"sleep 0.2; echo bye; exit\" TERM; echo ready; while :; do sleep "
      "0.01; done'; done"));
  f.client->AwaitText(LOG_SOURCE_JOB, "ready");
  const auto before = std::chrono::steady_clock::now();
  f.client->StopJob(600);
  const v1::JobStatus status = f.Finish();
  CHECK(status.finish_reason() == v1::FINISH_REASON_STOPPED);
  CHECK(std::chrono::steady_clock::now() - before < 60s);
  CHECK(f.store.text[LOG_SOURCE_JOB].find("bye\n") != std::string::npos);
}

TEST_CASE("an interactive shell with a trap ends by its trap, however long that takes") {
  Fixture f;
  f.Run(MakeInteractiveJob(
      "trap 'sleep 0.5; echo bye; exit 3' TERM; echo ready; while :; do sleep 0.01; done"));
  f.client->AwaitText(LOG_SOURCE_JOB, "ready");
  f.client->StopJob(600);
  const v1::JobStatus status = f.Finish();
  CHECK(status.exit_status() == 3);
  CHECK(f.store.text[LOG_SOURCE_JOB].ends_with("bye\n"));
}

TEST_CASE("a second stop can only make the end come sooner") {
  Fixture f;
  f.Run(MakeShellJob("trap '' TERM; echo ready; while :; do sleep 0.1; done"));
  f.client->AwaitText(LOG_SOURCE_JOB, "ready");
  f.client->StopJob(600);
  f.client->AwaitState(v1::JOB_STATE_STOPPING);
  f.client->StopJob(3600);
  f.client->StopJob(0);
  CHECK(f.Finish().signal() == SIGKILL);
}

TEST_CASE("a stopped process is woken to end") {
  Fixture f;
  f.Run(MakeShellJob("echo ready; kill -STOP $$"));
  f.client->AwaitText(LOG_SOURCE_JOB, "ready");
  f.client->StopJob(20);
  CHECK(f.Finish().signal() == SIGTERM);
}

TEST_CASE("what a command leaves behind ends with it, its last words are kept") {
  Fixture f;
  const std::string pid_file = f.runner.Path("left");
  f.Run(MakeShellJob("sh -c 'trap \"echo last words; exit\" TERM; echo $$ > " + pid_file +
                     "; while :; do sleep 0.01; done' & while ! test -s " + pid_file +
                     "; do sleep 0.01; done; exit 5"));
  const v1::JobStatus status = f.Finish();
  CHECK(status.exit_status() == 5);
  CHECK(status.finish_reason() == v1::FINISH_REASON_EXITED);
  CHECK(f.store.text[LOG_SOURCE_JOB].find("last words") != std::string::npos);
  CHECK_FALSE(process::IsAlive(PidFromFile(pid_file)));
}

TEST_CASE("max_duration ends the command") {
  Fixture f;
  v1::JobSpec job = MakeShellJob("trap '' TERM; while :; do sleep 0.05; done");
  job.mutable_max_duration()->set_nanos(200'000'000);
  job.mutable_stop_duration()->set_nanos(100'000'000);
  f.Run(job);
  const v1::JobStatus status = f.Finish();
  CHECK(status.finish_reason() == v1::FINISH_REASON_MAX_DURATION_EXCEEDED);
  CHECK(status.signal() == SIGKILL);
}

TEST_CASE("stop before the start") {
  Fixture f;
  f.runner.Start();
  f.client.emplace(f.runner.Target(), f.runner.token(), f.store);
  f.client->Submit(MakeShellJob("echo never"));
  f.client->AwaitFilesNeeded();
  f.client->StopJob(10);
  const v1::JobStatus status = f.Finish();
  CHECK(status.finish_reason() == v1::FINISH_REASON_STOPPED);
  CHECK_FALSE(status.has_exit_status());
  f.client->StartJob();
  CHECK(f.Leave().code == 143);
  CHECK_FALSE(base::Exists(f.runner.Path("started")));
}

TEST_CASE("SIGTERM to the supervisor is a stop with the grace of the task") {
  Fixture f;
  f.Run(MakeShellJob("trap '' TERM; echo ready; while :; do sleep 0.1; done"));
  f.client->AwaitText(LOG_SOURCE_JOB, "ready");
  REQUIRE(base::WriteFileAtomic(f.runner.Path("stop_grace"), "0\n").ok());
  f.runner.Terminate();
  CHECK(f.Finish().signal() == SIGKILL);
  // Nobody acknowledges the end; the runner does not wait for it.
  CHECK(f.runner.Wait().code == 128 + SIGKILL);
}

TEST_CASE("a stop from before the supervisor could hear of it is not lost") {
  RunnerProcess runner;
  REQUIRE(base::WriteFileAtomic(runner.Path("stop_grace"), "5\n").ok());
  // No signal: as if the kernel had dropped it.
  runner.Start();
  CHECK(runner.Wait().code == 128 + SIGTERM);
}

TEST_CASE("W14 a zombie of the job is reaped") {
  Fixture f;
  // The orphan ends after its parent; the supervisor becomes its parent.
  f.Run(
      MakeShellJob("(sh -c 'sleep 0.1; exit 9' &) ; sleep 0.3; ps -o stat= --ppid $PPID | "
                   "grep -c Z; exit 0"));
  f.Finish();
  CHECK(f.store.text[LOG_SOURCE_JOB] == "0\n");
}

}  // namespace
}  // namespace dstack::runner
