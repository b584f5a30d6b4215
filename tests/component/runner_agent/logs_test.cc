#include <algorithm>
#include <chrono>
#include <string>

#include <catch2/catch.hpp>
#include <signal.h>

#include "libs/base/file.h"
#include "libs/process/alive.h"
#include "libs/testing/await.h"
#include "tests/component/runner_agent/fixture.h"

namespace dstack::runner {
namespace {

using common::v1::LOG_SOURCE_JOB;
using namespace std::chrono_literals;

constexpr char kMegabytes[] = "head -c 20000000 /dev/zero | tr '\\0' y; echo; echo finished";

TEST_CASE("a flood arrives whole and in order") {
  Fixture f;
  f.Run(MakeShellJob("seq 1 300000"));
  f.Finish();
  const std::string& text = f.store.text[LOG_SOURCE_JOB];
  CHECK(std::count(text.begin(), text.end(), '\n') == 300000);
  CHECK(text.ends_with("299999\n300000\n"));
}

TEST_CASE("the last bytes of a command that ends at once are there") {
  // The command itself writes and ends: nobody waits for it before the terminal is closed.
  for (int round = 0; round < 5; ++round) {
    Fixture f;
    f.Run(MakeJob({"/usr/bin/seq", "1", "100000"}));
    f.Finish();
    const std::string& text = f.store.text[LOG_SOURCE_JOB];
    CHECK(text.size() == 588895);
    CHECK(text.ends_with("99999\n100000\n"));
  }
}

TEST_CASE("the last bytes are there even when the runner reads late") {
  Fixture f;
  const std::string go = f.runner.Path("go");
  f.Run(
      MakeShellJob("while ! test -e " + go + "; do sleep 0.01; done; exec head -c 8000 /dev/zero"));
  const auto command = static_cast<pid_t>(f.client->AwaitState(v1::JOB_STATE_RUNNING).pid());
  kill(f.runner.supervisor_pid(), SIGSTOP);
  REQUIRE(base::WriteFileAtomic(go, "").ok());
  testing::Await(20s, [&] { return !process::IsAlive(command); });
  kill(f.runner.supervisor_pid(), SIGCONT);
  CHECK(f.Finish().exit_status() == 0);
  CHECK(f.store.text[LOG_SOURCE_JOB].size() == 8000);
}

TEST_CASE("throttle: without acknowledgements the command waits, with them nothing is missing") {
  Fixture f({"--log-spool-bytes", "1000000"});
  f.runner.Start();
  f.client.emplace(
      f.runner.Target(), f.runner.token(), f.store, SessionClient::Settings{.acknowledges = false});
  f.client->Submit(MakeShellJob(kMegabytes));
  f.client->AwaitFilesNeeded();
  f.client->StartJob();
  f.client->AwaitState(v1::JOB_STATE_RUNNING);
  // The spool fills up: what was received stops growing at its size.
  std::size_t seen = 0;
  testing::Await(20s, [&] {
    seen = f.client->Text(LOG_SOURCE_JOB).size();
    return seen > 800'000;
  });
  CHECK(seen <= 1'000'000);
  CHECK(f.client->status().state() == v1::JOB_STATE_RUNNING);
  f.client->Acknowledge();
  f.Finish();
  CHECK(f.store.text[LOG_SOURCE_JOB].size() == 20'000'000 + std::string("\nfinished\n").size());
  CHECK(f.store.dropped_bytes == 0);
}

TEST_CASE("throttle: a stop ends a command that waits for room") {
  Fixture f({"--log-spool-bytes", "200000"});
  f.runner.Start();
  f.client.emplace(
      f.runner.Target(), f.runner.token(), f.store, SessionClient::Settings{.acknowledges = false});
  f.client->Submit(MakeShellJob(kMegabytes));
  f.client->AwaitFilesNeeded();
  f.client->StartJob();
  testing::Await(20s, [&] { return f.client->Text(LOG_SOURCE_JOB).size() > 100'000; });
  f.client->StopJob(0.1);
  f.client->AwaitState(v1::JOB_STATE_FINISHED);
  f.Finish();
}

TEST_CASE("drop: the command never waits and a marker tells how much is missing") {
  Fixture f({"--log-spool-bytes", "500000", "--log-overflow", "drop"});
  f.runner.Start();
  {
    SessionClient starter(f.runner.Target(), f.runner.token(), f.store);
    starter.Submit(MakeShellJob(kMegabytes));
    starter.AwaitFilesNeeded();
    starter.StartJob();
    starter.AwaitState(v1::JOB_STATE_RUNNING);
  }
  testing::Await(30s, [&] { return base::Exists(f.runner.Path("exit.pb")); });
  f.client.emplace(f.runner.Target(), f.runner.token(), f.store);
  f.Finish();
  CHECK(f.store.dropped_bytes > 0);
  CHECK(f.store.text[LOG_SOURCE_JOB].size() + f.store.dropped_bytes ==
        20'000'000 + std::string("\nfinished\n").size());
}

TEST_CASE("a server that does not acknowledge costs no memory") {
  Fixture f;
  f.runner.Start();
  f.client.emplace(
      f.runner.Target(), f.runner.token(), f.store, SessionClient::Settings{.acknowledges = false});
  f.client->Submit(MakeShellJob("head -c 100000000 /dev/zero | tr '\\0' y; echo; echo finished"));
  f.client->AwaitFilesNeeded();
  f.client->StartJob();
  f.client->AwaitState(v1::JOB_STATE_FINISHED);
  CHECK(f.client->Text(LOG_SOURCE_JOB).size() <= 10 << 20);
  f.CheckMemory();
  f.client->Acknowledge();
  f.Finish();
  CHECK(f.store.text[LOG_SOURCE_JOB].ends_with("finished\n"));
  CHECK(f.store.text[LOG_SOURCE_JOB].size() == 100'000'000 + std::string("\nfinished\n").size());
}

}  // namespace
}  // namespace dstack::runner
