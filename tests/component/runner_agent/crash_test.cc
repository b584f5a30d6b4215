#include <chrono>
#include <string>

#include <catch2/catch.hpp>
#include <signal.h>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/process/alive.h"
#include "libs/testing/await.h"
#include "libs/testing/paths.h"
#include "tests/component/runner_agent/fixture.h"

namespace dstack::runner {
namespace {

using common::v1::LOG_SOURCE_JOB;
using common::v1::LOG_SOURCE_RUNNER;
using namespace std::chrono_literals;

std::string NumberedLines(int count) {
  std::string text;
  for (int i = 1; i <= count; ++i) text += std::to_string(i) + "\n";
  return text;
}

// Reconnects as the server does, also while no serve process listens.
void Reconnect(Fixture& f) {
  f.client.reset();
  f.client.emplace(f.runner.Target(), f.runner.token(), f.store);
}

TEST_CASE("W9 serve is killed again and again while lines are printed: none lost, none doubled") {
  Fixture f;
  constexpr int kLines = 3000;
  f.Run(
      MakeShellJob("i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo $i; "
                   "[ $((i % 300)) = 0 ] && sleep 0.1; done; exit 4"));
  const pid_t supervisor = f.runner.supervisor_pid();
  pid_t serve = f.runner.ServePid();
  for (int round = 1; round <= 4; ++round) {
    f.client->AwaitText(LOG_SOURCE_JOB, "\n" + std::to_string(round * 500) + "\n");
    f.runner.KillServe();
    serve = f.runner.ServePid(serve);
    Reconnect(f);
  }
  CHECK(f.Finish().exit_status() == 4);
  CHECK(f.store.text[LOG_SOURCE_JOB] == NumberedLines(kLines));
  CHECK(f.runner.supervisor_pid() == supervisor);
  CHECK(f.Leave().code == 4);
}

TEST_CASE("the command ends while serve is dead") {
  Fixture f;
  f.Run(MakeShellJob("echo up; read line; true"));
  f.client->AwaitText(LOG_SOURCE_JOB, "up");
  const pid_t serve = f.runner.ServePid();
  const auto command = static_cast<pid_t>(f.client->status().pid());
  // A stopped serve is as good as a dead one, and cannot be started again meanwhile.
  kill(serve, SIGSTOP);
  kill(command, SIGTERM);
  testing::Await(20s, [&] { return base::Exists(f.runner.Path("exit.pb")); });
  kill(serve, SIGKILL);
  f.runner.ServePid(serve);
  Reconnect(f);
  CHECK(f.Finish().signal() == SIGTERM);
}

TEST_CASE("the supervisor is killed: deliver tells that the job is lost, with its last output") {
  Fixture f;
  f.Run(MakeShellJob("echo one; echo two; exec sleep 1000"));
  f.client->AwaitText(LOG_SOURCE_JOB, "two");
  const auto command = static_cast<pid_t>(f.client->status().pid());
  f.client.reset();
  f.store = {};
  f.runner.KillSupervisor();
  testing::Await(10s, [&] { return !process::IsAlive(command); });
  f.runner.StartDeliver();
  f.client.emplace(f.runner.Target(), f.runner.token(), f.store);
  const v1::JobStatus status = f.Finish();
  CHECK(status.finish_reason() == v1::FINISH_REASON_LOST);
  CHECK_FALSE(status.has_exit_status());
  CHECK(f.store.text[LOG_SOURCE_JOB] == "one\ntwo\n");
  CHECK(f.store.text[LOG_SOURCE_RUNNER].find("before the command's end was seen") !=
        std::string::npos);
  CHECK(f.Leave().code == 0);
}

TEST_CASE("the supervisor dies right after it recorded the end: deliver knows the end") {
  Fixture f;
  f.runner.env = {"DSTACK_FAILPOINTS=runner.after_exit_record=crash"};
  f.Run(MakeShellJob("echo done; exit 6"));
  CHECK(f.runner.Wait().signal == SIGKILL);
  f.client.reset();
  unlink(f.runner.Path("runner.sock").c_str());
  f.runner.StartDeliver();
  f.client.emplace(f.runner.Target(), f.runner.token(), f.store);
  const v1::JobStatus status = f.Finish();
  CHECK(status.finish_reason() == v1::FINISH_REASON_EXITED);
  CHECK(status.exit_status() == 6);
  CHECK(f.store.text[LOG_SOURCE_JOB] == "done\n");
}

TEST_CASE("the supervisor dies around the start: the command runs at most once") {
  for (const std::string point : {"runner.before_exec", "runner.after_exec"}) {
    INFO(point);
    Fixture f;
    const std::string marker = f.runner.Path("ran");
    f.runner.env = {"DSTACK_FAILPOINTS=" + point + "=crash"};
    const v1::JobSpec job = MakeShellJob("echo x >> " + marker);
    f.Run(job);
    CHECK(f.runner.Wait().signal == SIGKILL);
    f.client.reset();
    unlink(f.runner.Path("runner.sock").c_str());
    f.runner.env.clear();
    f.runner.Start();
    f.client.emplace(f.runner.Target(), f.runner.token(), f.store);
    f.client->Submit(job);
    f.client->StartJob();
    CHECK(f.Finish().finish_reason() == v1::FINISH_REASON_LOST);
    CHECK(base::ReadFile(marker).value_or("").size() <= 2);
  }
}

TEST_CASE("the supervisor dies before the start was marked: the job can be started") {
  Fixture f;
  f.runner.env = {"DSTACK_FAILPOINTS=runner.before_started=crash"};
  const v1::JobSpec job = MakeShellJob("echo x");
  f.Run(job);
  CHECK(f.runner.Wait().signal == SIGKILL);
  f.client.reset();
  unlink(f.runner.Path("runner.sock").c_str());
  f.runner.env.clear();
  f.runner.Start();
  f.client.emplace(f.runner.Target(), f.runner.token(), f.store);
  f.client->Submit(job);
  CHECK(f.client->AwaitFilesNeeded().empty());
  f.client->StartJob();
  CHECK(f.Finish().exit_status() == 0);
  CHECK(f.store.text[LOG_SOURCE_JOB] == "x\n");
}

TEST_CASE("serve dies between the job's file and its message: the job starts") {
  Fixture f;
  f.runner.env = {"DSTACK_FAILPOINTS=runner.after_job_saved=once:crash"};
  f.runner.Start();
  f.client.emplace(f.runner.Target(), f.runner.token(), f.store);
  const pid_t serve = f.runner.ServePid();
  const v1::JobSpec job = MakeShellJob("echo x");
  f.client->Submit(job);
  f.client->AwaitClosed();
  f.runner.ServePid(serve);
  Reconnect(f);
  f.client->Submit(job);
  CHECK(f.client->AwaitFilesNeeded().empty());
  f.client->StartJob();
  CHECK(f.Finish().exit_status() == 0);
}

TEST_CASE("serve dies right after it marked the end: the runner leaves all the same") {
  Fixture f;
  f.runner.env = {"DSTACK_FAILPOINTS=runner.after_end_acked=crash"};
  f.Run(MakeShellJob("exit 2"));
  f.Finish();
  f.client->AckEnd();
  CHECK(f.runner.Wait().code == 2);
}

TEST_CASE("deliver leaves when the task is removed") {
  Fixture f;
  f.runner.StartDeliver();
  REQUIRE(base::RemoveAll(f.runner.dir()).ok());
  CHECK(f.runner.Wait().code == 0);
}

TEST_CASE("two supervisors of one task exclude each other") {
  Fixture f;
  f.runner.Start();
  const auto second = process::Run({"/proc/" + std::to_string(f.runner.supervisor_pid()) + "/exe",
                                    "supervise",
                                    "--task-dir",
                                    f.runner.dir()},
                                   20s);
  REQUIRE(second.ok());
  CHECK(second->exit.code == 125);
  CHECK(f.runner.IsRunning());
}

TEST_CASE("a task without a token is refused") {
  Fixture f;
  unlink(f.runner.Path("token").c_str());
  const auto run = process::Run(
      {testing::Binary("dstack-runner"), "supervise", "--task-dir", f.runner.dir()}, 20s);
  REQUIRE(run.ok());
  CHECK(run->exit.code == 125);
  CHECK(run->stderr_text.find("token is missing") != std::string::npos);
}

TEST_CASE("a spool whose file is empty or torn is read on") {
  Fixture f;
  REQUIRE(base::MakeDirs(f.runner.Path("spool/job"), 0700).ok());
  REQUIRE(base::WriteFileAtomic(f.runner.Path("spool/job/00000000000000000001.seg"), "").ok());
  f.Run(MakeShellJob("echo x"));
  f.Finish();
  CHECK(f.store.text[LOG_SOURCE_JOB] == "x\n");
}

}  // namespace
}  // namespace dstack::runner
