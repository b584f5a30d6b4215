// `apply` of runs and `logs`: what reaches the screen, in which order, with which exit code, when
// all is well and when the way to the server is not.

#include <numeric>
#include <tuple>

#include <catch2/catch.hpp>
#include <fmt/format.h>
#include <signal.h>
#include <sys/ioctl.h>

#include "libs/base/sha256.h"
#include "libs/testing/await.h"
#include "libs/testing/paths.h"
#include "tests/component/cli_server/cli_fakes.h"
#include "tests/component/cli_server/cli_process.h"

namespace dstack::cli {
namespace {

using namespace std::chrono_literals;
using Catch::Contains;

constexpr const char* kTask = "type: task\nname: hello\ncommands:\n  - echo hello\n";

std::vector<std::string> Lines(int count) {
  std::vector<std::string> lines;
  for (int i = 0; i < count; ++i) lines.push_back(fmt::format("line {}\n", i));
  return lines;
}

std::string Joined(const std::vector<std::string>& lines) {
  return std::accumulate(lines.begin(), lines.end(), std::string());
}

void AwaitLogReaders(FakeServer& server, int count) {
  testing::AwaitEqual(
      20s, [&] { return server.CallsOf("StreamLogs") >= count; }, true);
}

TEST_CASE("apply shows the plan on standard error and the bytes of the job on standard output") {
  FakeServer server;
  CliUser user(server);
  user.WriteFile(".dstack.yml", kTask);
  const std::string binary("\x1b[31mred\x1b[0m \xFF\xFE\n", 16);
  server.RunEachWith({"hello\r\n", binary}, 0);
  const auto result = user.Run({"apply", "-y"});
  INFO(result.stderr_text);
  CHECK(result.exit.code == 0);
  CHECK(result.stdout_text == "hello\r\n" + binary);
  CHECK_THAT(result.stderr_text,
             Contains("Project") && Contains("main") && Contains("ssh (remote)"));
  CHECK_THAT(result.stderr_text, Contains("Done"));
}

TEST_CASE("apply returns the exit status of the command") {
  FakeServer server;
  CliUser user(server);
  const std::string file = user.WriteFile("task.yml", kTask);
  for (const int status : {1, 3, 137, 255}) {
    server.RunEachWith({"out\n"}, status);
    const auto result =
        user.Run({"apply", "-y", "-f", file, "-n", fmt::format("hello-{}", status)});
    INFO(result.stderr_text);
    CHECK(result.exit.code == status);
    CHECK_THAT(result.stderr_text, Contains(fmt::format("Failed (exited ({}))", status)));
    CHECK_THAT(result.stderr_text, Contains("dstack logs -d hello"));
  }
}

TEST_CASE("a log stream that breaks again and again loses and doubles nothing") {
  FakeServer server;
  CliUser user(server);
  user.WriteFile(".dstack.yml", kTask);
  const std::vector<std::string> lines = Lines(200);
  server.RunEachWith(lines, 0);
  server.With([](FakeState& state) {
    state.break_logs_after = 17;
    state.log_breaks_left = 6;
  });
  const auto result = user.Run({"apply", "-y"});
  CHECK(result.exit.code == 0);
  CHECK(result.stdout_text == Joined(lines));
  CHECK(server.CallsOf("StreamLogs") == 7);
}

TEST_CASE("a restart of the server does not end apply") {
  FakeServer server;
  CliUser user(server);
  user.WriteFile(".dstack.yml", kTask);
  process::Subprocess child = user.Start({"apply", "-y"});
  testing::Await(20s, [&] { return server.HasRun("hello"); });
  AwaitLogReaders(server, 1);
  server.AppendLog("hello", "before\n");
  server.ChangeRun("hello",
                   [](api::v1::Run* run) { run->set_status(api::v1::RUN_STATUS_RUNNING); });
  server.Restart();
  server.AppendLog("hello", "after\n");
  server.Finish("hello", 5);
  const auto exit = child.WaitUntil(base::DeadlineIn(30s));
  REQUIRE(exit.ok());
  CHECK(exit->code == 5);
  CHECK(child.stdout_text() == "before\nafter\n");
}

TEST_CASE("apply follows the next attempt of a job that is retried") {
  FakeServer server;
  CliUser user(server);
  user.WriteFile(".dstack.yml", kTask);
  process::Subprocess child = user.Start({"apply", "-y"});
  testing::Await(20s, [&] { return server.HasRun("hello"); });
  server.AppendLog("hello", "first\n");
  server.EndLog("hello");
  server.ChangeRun("hello", [](api::v1::Run* run) {
    run->set_status(api::v1::RUN_STATUS_PENDING);
    run->mutable_jobs(0)->mutable_submissions(0)->set_status(api::v1::JOB_STATUS_FAILED);
    run->mutable_jobs(0)->add_submissions()->set_id("second");
  });
  server.AppendLog("hello", "second\n");
  server.Finish("hello", 0);
  const auto exit = child.WaitUntil(base::DeadlineIn(30s));
  REQUIRE(exit.ok());
  CHECK(exit->code == 0);
  CHECK(child.stdout_text() == "first\nsecond\n");
}

TEST_CASE("a submission whose answer is lost is not made twice") {
  FakeServer server;
  CliUser user(server);
  user.WriteFile(".dstack.yml", kTask);
  server.RunEachWith({"x\n"}, 0);
  server.FailNext("ApplyRun", grpc::Status(grpc::StatusCode::UNAVAILABLE, "socket closed"));
  const auto result = user.Run({"apply", "-y"});
  CHECK(result.exit.code == 0);
  server.With([](FakeState& state) { CHECK(state.runs.size() == 1); });
}

TEST_CASE("apply -d returns after submission") {
  FakeServer server;
  CliUser user(server);
  user.WriteFile(".dstack.yml", kTask);
  const auto result = user.Run({"apply", "-y", "-d"});
  CHECK(result.exit.code == 0);
  CHECK_THAT(result.stdout_text, Contains("Run hello submitted, detaching..."));
  CHECK(server.CallsOf("StreamLogs") == 0);
}

TEST_CASE("flags, variables and arguments reach the server") {
  FakeServer server;
  CliUser user(server);
  user.WriteFile(".dstack.yml",
                 "type: task\ncommands:\n  - train ${{ run.args }}\nenv:\n  - A=1\n  - HOME\n");
  const auto result =
      user.Run({"apply", "-y",    "-d",    "-n",     "named",    "-e",     "A=2",
                "-e",    "B=x=y", "--gpu", "24GB..", "--memory", "16GB..", "--max-duration",
                "2h",    "-p",    "8080",  "--",     "--lr",     "1 2"});
  INFO(result.stderr_text);
  REQUIRE(result.exit.code == 0);
  server.With([&](FakeState& state) {
    const auto& run = state.last_run_spec.configuration();
    CHECK(state.last_run_spec.run_name() == "named");
    CHECK(run.task().commands(0) == "train --lr '1 2'");
    REQUIRE(run.env_size() == 3);
    CHECK(run.env(0).value() == "2");
    CHECK(run.env(1).value() == user.home());
    CHECK(run.env(2).value() == "x=y");
    CHECK(run.resources().gpu().memory().min_bytes() == 24ULL << 30);
    CHECK(run.resources().memory().min_bytes() == 16ULL << 30);
    CHECK(run.profile().max_duration().duration().seconds() == 7200);
    CHECK(run.task().ports(0).container_port() == 8080);
  });
}

TEST_CASE("wrong flags and files say what is wrong and change nothing") {
  FakeServer server;
  CliUser user(server);
  user.WriteFile("task.yml", kTask);
  user.WriteFile("bad.yml", "type: task\ncomands: [x]\n");
  user.WriteFile("env.yml", "type: task\ncommands: [x]\nenv: [NOT_SET_ANYWHERE]\n");
  const std::tuple<std::vector<std::string>, const char*, int> rows[] = {
      {{"apply", "-y", "-f", "task.yml", "--gpu", "x:y:z:2:3"}, "--gpu", 1},
      {{"apply", "-y", "-f", "task.yml", "--max-price", "-1"}, "--max-price", 1},
      {{"apply", "-y", "-f", "bad.yml"}, "comands", 1},
      {{"apply", "-y", "-f", "env.yml"}, "NOT_SET_ANYWHERE", 1},
      {{"apply", "-y", "-f", "missing.yml"}, "missing.yml", 1},
      {{"apply", "-f", "-"}, "-y", 1},
      {{"apply", "-y", "-f", "task.yml", "--spot", "--on-demand"}, "excludes", 2},
      {{"apply", "--bogus"}, "--bogus", 1},
  };
  for (const auto& [arguments, text, code] : rows) {
    const auto result = user.Run(arguments);
    INFO(arguments.back() << ": " << result.stderr_text);
    CHECK(result.exit.code == code);
    CHECK_THAT(result.stderr_text, Contains(text));
  }
  CHECK(server.CallsOf("ApplyRun") == 0);
}

TEST_CASE("an active run is left alone, updated or overridden") {
  FakeServer server;
  CliUser user(server);
  user.WriteFile(".dstack.yml", kTask);
  server.AddRun("hello", api::v1::RUN_STATUS_RUNNING);

  const auto same = user.Run({"apply", "-y", "-d"});
  CHECK(same.exit.code == 0);
  CHECK_THAT(same.stdout_text, Contains("Detected no changes") && Contains("--force"));
  CHECK(server.CallsOf("ApplyRun") == 0);

  server.With([](FakeState& state) {
    state.changed_fields = {"priority"};
    state.is_updatable = true;
  });
  const auto updated = user.Run({"apply", "-y", "-d"});
  CHECK_THAT(updated.stdout_text, Contains("can be updated in-place") && Contains("- priority"));
  CHECK_THAT(updated.stdout_text, Contains("Run hello updated"));
  CHECK(server.CallsOf("StopRuns") == 0);

  server.With([](FakeState& state) { state.is_updatable = false; });
  const auto replaced = user.Run({"apply", "-y", "-d"});
  CHECK_THAT(replaced.stdout_text, Contains("cannot be updated in-place"));
  CHECK(server.CallsOf("StopRuns") == 1);
  CHECK_THAT(replaced.stdout_text, Contains("Run hello submitted"));
}

TEST_CASE("no answer, and the answer n, submit nothing") {
  FakeServer server;
  CliUser user(server);
  user.WriteFile(".dstack.yml", kTask);
  for (const char* input : {"", "n\n", "what\nn\n"}) {
    const auto result = user.Run({"apply"}, input);
    CHECK(result.exit.code == 0);
    CHECK_THAT(result.stderr_text, Contains("Submit the run hello? [y/n]:"));
    CHECK_THAT(result.stderr_text, Contains("Exiting..."));
  }
  CHECK(server.CallsOf("ApplyRun") == 0);
}

TEST_CASE("files are packed, uploaded once and named in the run") {
  FakeServer server;
  CliUser user(server);
  user.WriteFile("code/train.py", "print(1)\n");
  user.WriteFile("code/secret.env", "no\n");
  user.WriteFile("code/.gitignore", "*.env\n");
  user.WriteFile("task.yml", "type: task\ncommands: [x]\nfiles:\n  - code:/workflow/code\n");
  REQUIRE(user.Run({"apply", "-y", "-d", "-f", "task.yml"}).exit.code == 0);
  REQUIRE(user.Run({"apply", "-y", "-d", "-f", "task.yml", "-n", "again"}).exit.code == 0);
  CHECK(server.CallsOf("UploadFile") == 1);
  server.With([](FakeState& state) {
    REQUIRE(state.last_run_spec.files_size() == 1);
    const auto& file = state.last_run_spec.files(0);
    CHECK(file.path() == "/workflow/code");
    const std::string& tar = state.files[file.digest()];
    CHECK(base::Sha256Hex(tar) == file.digest());
    CHECK_THAT(tar, Contains("code/train.py") && !Contains("secret.env"));
  });
}

TEST_CASE("logs prints what is stored and follows until the end") {
  FakeServer server;
  CliUser user(server);
  server.AddRun("old", api::v1::RUN_STATUS_RUNNING);
  server.AppendLog("old", "stored\n");
  process::Subprocess child = user.Start({"logs", "old"});
  AwaitLogReaders(server, 1);
  server.AppendLog("old", "live\n");
  server.Finish("old", 0);
  const auto exit = child.WaitUntil(base::DeadlineIn(30s));
  REQUIRE(exit.ok());
  CHECK(exit->code == 0);
  CHECK(child.stdout_text() == "stored\nlive\n");

  server.AppendLog("old", "agent\n", common::v1::LOG_SOURCE_RUNNER);
  server.EndLog("old", common::v1::LOG_SOURCE_RUNNER);
  CHECK(user.Run({"logs", "-d", "old"}).stdout_text == "agent\n");

  const auto missing = user.Run({"logs", "none"});
  CHECK(missing.exit.code == 1);
  CHECK_THAT(missing.stderr_text, Contains("Run not found"));
  CHECK_THAT(user.Run({"logs", "old", "--since", "yesterday"}).stderr_text, Contains("--since"));
}

TEST_CASE("Ctrl-C asks, y stops the run and its last lines arrive") {
  FakeServer server;
  CliUser user(server);
  user.WriteFile(".dstack.yml", kTask);
  CliOnTerminal terminal(user, {"apply"});
  terminal.AwaitText("Submit the run hello? [y/n]:");
  terminal.Type("y\n");
  testing::Await(20s, [&] { return server.HasRun("hello"); });
  server.AppendLog("hello", "working\n");
  terminal.AwaitText("working");
  terminal.Type("\x03");
  terminal.AwaitText("Stop the run before detaching? [y/n]:");
  server.AppendLog("hello", "last words\n");
  terminal.Type("y\n");
  CHECK(terminal.AwaitExit() == 0);
  CHECK_THAT(terminal.screen(), Contains("last words") && Contains("Stopped"));
  server.With([](FakeState& state) {
    REQUIRE(state.last_stop.run_names_size() == 1);
    CHECK_FALSE(state.last_stop.is_abort());
  });
}

TEST_CASE("Ctrl-C, then n: the run goes on") {
  FakeServer server;
  CliUser user(server);
  user.WriteFile(".dstack.yml", kTask);
  CliOnTerminal terminal(user, {"apply"});
  terminal.AwaitText("[y/n]:");
  terminal.Type("y\n");
  testing::Await(20s, [&] { return server.HasRun("hello"); });
  server.AppendLog("hello", "working\n");
  terminal.AwaitText("working");
  terminal.Type("\x03");
  terminal.AwaitText("Stop the run before detaching? [y/n]:");
  terminal.Type("n\n");
  CHECK(terminal.AwaitExit() == 0);
  CHECK_THAT(terminal.screen(), Contains("Detached") && Contains("dstack stop hello"));
  CHECK(server.CallsOf("StopRuns") == 0);
}

TEST_CASE("a second Ctrl-C aborts") {
  FakeServer server;
  CliUser user(server);
  user.WriteFile(".dstack.yml", kTask);
  CliOnTerminal terminal(user, {"apply"});
  terminal.AwaitText("[y/n]:");
  terminal.Type("y\n");
  testing::Await(20s, [&] { return server.HasRun("hello"); });
  server.AppendLog("hello", "working\n");
  terminal.AwaitText("working");
  terminal.Type("\x03");
  terminal.AwaitText("Stop the run before detaching? [y/n]:");
  terminal.Type("\x03");
  CHECK(terminal.AwaitExit() == 0);
  CHECK_THAT(terminal.screen(), Contains("Aborted"));
  server.With([](FakeState& state) { CHECK(state.last_stop.is_abort()); });
}

TEST_CASE("with -y Ctrl-C leaves at once and says how to stop the run") {
  FakeServer server;
  CliUser user(server);
  user.WriteFile(".dstack.yml", kTask);
  CliOnTerminal terminal(user, {"apply", "-y"});
  testing::Await(20s, [&] { return server.HasRun("hello"); });
  server.AppendLog("hello", "working\n");
  terminal.AwaitText("working");
  terminal.Type("\x03");
  CHECK(terminal.AwaitExit() == 0);
  CHECK_THAT(terminal.screen(), Contains("dstack stop hello"));
  CHECK(server.CallsOf("StopRuns") == 0);
}

TEST_CASE("Ctrl-C works while nobody reads the output") {
  FakeServer server;
  CliUser user(server);
  user.WriteFile(".dstack.yml", kTask);
  process::Options options;
  options.env = user.Env();
  options.cwd = user.home();
  options.stdout_mode = process::Output::kPipe;
  options.stderr_mode = process::Output::kCapture;
  auto child = process::Subprocess::Start({testing::Binary("dstack"), "apply", "-y"}, options);
  REQUIRE(child.ok());
  testing::Await(20s, [&] { return server.HasRun("hello"); });
  AwaitLogReaders(server, 1);
  for (int i = 0; i < 64; ++i) server.AppendLog("hello", std::string(32 << 10, 'x'));
  // The pipe is full once nothing more is taken from the server.
  const base::UniqueFd output = child->TakeStdout();
  testing::Await(20s, [&] {
    int pending = 0;
    return ioctl(output.get(), FIONREAD, &pending) == 0 && pending >= (60 << 10);
  });
  REQUIRE(child->Kill(SIGINT).ok());
  const auto exit = child->WaitUntil(base::DeadlineIn(20s));
  REQUIRE(exit.ok());
  CHECK(exit->code == 0);
}

}  // namespace
}  // namespace dstack::cli
