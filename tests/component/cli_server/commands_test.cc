// The commands beside `apply` of runs: tables, JSON, questions, exit codes.

#include <catch2/catch.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <sys/stat.h>

#include "libs/testing/await.h"
#include "tests/component/cli_server/cli_fakes.h"
#include "tests/component/cli_server/cli_process.h"

namespace dstack::cli {
namespace {

using namespace std::chrono_literals;
using Catch::Contains;

constexpr const char* kFleet =
    "type: fleet\nname: lab\nssh_config:\n  user: root\n  identity_file: id_test\n"
    "  hosts: [10.0.0.1, 10.0.0.2]\n";
constexpr const char* kKey =
    "-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n-----END OPENSSH PRIVATE KEY-----\n";

TEST_CASE("ps lists active runs, else the last one, and makes names harmless") {
  FakeServer server;
  CliUser user(server);
  CHECK(user.Run({"ps"}).stdout_text == " NAME  BACKEND  GPU  PRICE  STATUS  SUBMITTED\n");
  server.AddRun("first", api::v1::RUN_STATUS_DONE);
  server.AddRun("second", api::v1::RUN_STATUS_DONE);
  CHECK_THAT(user.Run({"ps"}).stdout_text, Contains("second") && !Contains("first"));
  server.AddRun("bad\x1b[2Jname\n", api::v1::RUN_STATUS_RUNNING);
  const std::string active = user.Run({"ps"}).stdout_text;
  CHECK_THAT(active, Contains("bad\\x1b[2Jname\\n") && !Contains("second"));
  CHECK_THAT(user.Run({"ps", "-a"}).stdout_text, Contains("first") && Contains("second"));
  CHECK_THAT(user.Run({"ps", "-n", "2"}).stdout_text, Contains("second") && !Contains("first"));
  CHECK_THAT(user.Run({"ps", "-v"}).stdout_text, Contains("INSTANCE TYPE") && Contains("ERROR"));
}

TEST_CASE("JSON goes to standard output alone, with words for enums") {
  FakeServer server;
  CliUser user(server);
  const api::v1::Run run = server.AddRun("hello", api::v1::RUN_STATUS_SUBMITTED);
  server.Finish("hello", 4);
  const auto list = nlohmann::json::parse(user.Run({"ps", "--json"}).stdout_text);
  CHECK(list["project"] == "main");
  REQUIRE(list["runs"].size() == 1);
  CHECK(list["runs"][0]["status"] == "failed");
  const auto one = nlohmann::json::parse(user.Run({"run", "get", "hello", "--json"}).stdout_text);
  CHECK(one["id"] == run.id());
  CHECK(one["jobs"][0]["submissions"][0]["exit_status"] == 4);
  CHECK(one["jobs"][0]["submissions"][0]["termination_reason"] == "container_exited_with_error");
  CHECK(user.Run({"run", "get", "--id", run.id(), "--json"}).exit.code == 0);
  CHECK(user.Run({"run", "get", "none", "--json"}).exit.code == 1);
  CHECK(user.Run({"run", "get", "--json"}).exit.code == 2);
}

TEST_CASE("stop asks once and stops all or nothing") {
  FakeServer server;
  CliUser user(server);
  server.AddRun("one", api::v1::RUN_STATUS_RUNNING);
  server.AddRun("two", api::v1::RUN_STATUS_RUNNING);
  CHECK(user.Run({"stop", "one"}, "n\n").exit.code == 0);
  CHECK(server.CallsOf("StopRuns") == 0);
  const auto stopped = user.Run({"stop", "one", "two"}, "y\n");
  CHECK(stopped.exit.code == 0);
  CHECK(stopped.stdout_text == "Stopped\n");
  server.AddRun("three", api::v1::RUN_STATUS_RUNNING);
  CHECK(user.Run({"stop", "-x", "-y", "three"}).stdout_text == "Aborted\n");
  server.With([](FakeState& state) { CHECK(state.last_stop.is_abort()); });
  const auto missing = user.Run({"stop", "-y", "none"});
  CHECK(missing.exit.code == 1);
  CHECK_THAT(missing.stderr_text, Contains("Run none not found"));
}

TEST_CASE("Ctrl-C at a question is exit code 1") {
  FakeServer server;
  CliUser user(server);
  CliOnTerminal terminal(user, {"stop", "hello"});
  terminal.AwaitText("Stop the run hello? [y/n]:");
  terminal.Type("\x03");
  CHECK(terminal.AwaitExit() == 1);
  CHECK_THAT(terminal.screen(), Contains("Cancelled by user"));
}

TEST_CASE("an SSH fleet is applied with its key and awaited") {
  FakeServer server;
  CliUser user(server);
  user.WriteFile("fleet.yml", kFleet);
  user.WriteFile("id_test", kKey);
  process::Subprocess child = user.Start({"apply", "-y", "-f", "fleet.yml"});
  testing::Await(20s, [&] { return server.CallsOf("GetFleet") > 0; });
  bool fails = false;
  SECTION("all hosts are set up") {}
  SECTION("a host fails") { fails = true; }
  server.With([&](FakeState& state) {
    CHECK(state.last_fleet_spec.ssh_keys().at("id_test") == kKey);
    CHECK_FALSE(state.last_fleet_spec.configuration().ssh_config().has_ssh_key());
    auto* instances = state.fleets[0].mutable_instances();
    for (auto& instance : *instances) instance.set_status(api::v1::INSTANCE_STATUS_IDLE);
    if (!fails) return;
    instances->Mutable(1)->set_status(api::v1::INSTANCE_STATUS_TERMINATED);
    instances->Mutable(1)->set_termination_reason(api::v1::INSTANCE_TERMINATION_REASON_ERROR);
    instances->Mutable(1)->set_status_message("permission denied (publickey)");
  });
  const auto exit = child.WaitUntil(base::DeadlineIn(30s));
  REQUIRE(exit.ok());
  CHECK(exit->code == (fails ? 1 : 0));
  CHECK_THAT(child.stdout_text(), Contains("Fleet type") && Contains("instance=1"));
  if (fails) CHECK_THAT(child.stderr_text(), Contains("lab-1: permission denied (publickey)"));
}

TEST_CASE("a fleet whose key cannot be read names field and file") {
  FakeServer server;
  CliUser user(server);
  user.WriteFile("fleet.yml", kFleet);
  const auto missing = user.Run({"apply", "-y", "-f", "fleet.yml"});
  CHECK(missing.exit.code == 1);
  CHECK_THAT(missing.stderr_text, Contains("ssh_config.identity_file") && Contains("id_test"));
  user.WriteFile("id_test", "ssh-ed25519 AAAA public\n");
  CHECK_THAT(user.Run({"apply", "-y", "-f", "fleet.yml"}).stderr_text, Contains("private key"));
  user.WriteFile("id_test", kKey);
  CHECK_THAT(user.Run({"apply", "-y", "-f", "fleet.yml", "--gpu", "2"}).stderr_text,
             Contains("--name and --env alone"));
  CHECK(server.CallsOf("ApplyFleet") == 0);
}

TEST_CASE("fleets are listed, shown and deleted") {
  FakeServer server;
  CliUser user(server);
  api::v1::Fleet fleet;
  fleet.set_id("f-1");
  fleet.set_name("lab");
  fleet.set_status(api::v1::FLEET_STATUS_ACTIVE);
  fleet.mutable_spec()->mutable_configuration()->mutable_ssh_config()->add_hosts();
  fleet.add_instances()->set_status(api::v1::INSTANCE_STATUS_IDLE);
  server.PutFleet(fleet);
  CHECK_THAT(user.Run({"fleet"}).stdout_text, Contains("lab") && Contains("idle"));
  CHECK_THAT(user.Run({"fleet", "list", "-v"}).stdout_text, Contains("DRIVER"));
  const auto json = nlohmann::json::parse(user.Run({"fleet", "get", "lab", "--json"}).stdout_text);
  CHECK(json["instances"][0]["status"] == "idle");
  CHECK(user.Run({"fleet", "delete", "other/lab", "-y"}).exit.code == 1);
  CHECK(user.Run({"fleet", "delete", "none", "-y"}).exit.code == 1);
  CHECK(user.Run({"fleet", "delete", "lab"}, "y\n").exit.code == 0);
  server.With([](FakeState& state) { CHECK(state.fleets.empty()); });
}

TEST_CASE("instances are drained with a reason and take jobs again") {
  FakeServer server;
  CliUser user(server);
  api::v1::Fleet fleet;
  fleet.set_name("lab");
  fleet.set_status(api::v1::FLEET_STATUS_ACTIVE);
  for (uint32_t num = 0; num < 2; ++num) {
    api::v1::Instance* instance = fleet.add_instances();
    instance->set_id(num == 0 ? "i-0" : "i-1");
    instance->set_name(num == 0 ? "lab-0" : "lab-1");
    instance->set_instance_num(num);
    instance->set_status(api::v1::INSTANCE_STATUS_IDLE);
  }
  server.PutFleet(fleet);
  CHECK(user.Run({"fleet", "drain", "lab"}).exit.code == 2);
  CHECK_THAT(user.Run({"fleet", "drain", "lab", "-i", "7", "--reason", "x"}).stderr_text,
             Contains("Fleet lab has no instance 7"));
  const auto one = user.Run({"fleet", "drain", "lab", "-i", "1", "--reason", "new kernel"});
  CHECK(one.stdout_text == "Instance lab-1 takes no new jobs; nothing runs on it\n");
  const std::string list = user.Run({"fleet", "-v"}).stdout_text;
  CHECK_THAT(list, Contains("idle (draining)") && Contains("draining: new kernel"));
  CHECK_THAT(user.Run({"fleet", "undrain", "lab"}).stdout_text,
             Contains("lab-0 takes jobs") && Contains("lab-1 takes jobs"));
  CHECK_THAT(user.Run({"fleet"}).stdout_text, !Contains("draining"));
}

TEST_CASE("metrics of a run are drawn") {
  FakeServer server;
  CliUser user(server);
  server.AddRun("train", api::v1::RUN_STATUS_RUNNING);
  CHECK(user.Run({"metrics", "train"}).stdout_text == "No metrics of the run train yet\n");
  server.With([](FakeState& state) {
    state.job_metrics.mutable_resources()->set_cpus(2);
    api::v1::UsagePoint* point = state.job_metrics.add_points();
    point->mutable_time()->set_seconds(1'000'000);
    point->set_cpus_used(1);
  });
  const auto shown = user.Run({"metrics", "train"});
  CHECK(shown.exit.code == 0);
  CHECK_THAT(shown.stdout_text, Contains("job=0") && Contains("50%") && Contains("now"));
  const auto missing = user.Run({"metrics", "train", "--job", "3"});
  CHECK(missing.exit.code == 1);
  CHECK_THAT(missing.stderr_text, Contains("Run train has no job 3"));
  CHECK(user.Run({"metrics", "none"}).exit.code == 1);
}

TEST_CASE("what a file names is deleted") {
  FakeServer server;
  CliUser user(server);
  user.WriteFile("task.yml", "type: task\nname: train\ncommands: [x]\n");
  user.WriteFile("unnamed.yml", "type: task\ncommands: [x]\n");
  user.WriteFile("fleet.yml", kFleet);
  server.AddRun("train", api::v1::RUN_STATUS_RUNNING);
  const auto active = user.Run({"delete", "-f", "task.yml", "-y"});
  CHECK(active.exit.code == 1);
  CHECK_THAT(active.stderr_text, Contains("Stop them first"));
  server.AddRun("old", api::v1::RUN_STATUS_DONE);
  CHECK(user.Run({"run", "delete", "old"}, "y\n").stdout_text == "Run old deleted\n");
  server.ChangeRun("train", [](api::v1::Run* run) { run->set_status(api::v1::RUN_STATUS_DONE); });
  CHECK(user.Run({"destroy", "-f", "task.yml"}, "n\n").exit.code == 0);
  CHECK(server.CallsOf("DeleteRuns") == 2);
  CHECK(user.Run({"destroy", "-f", "task.yml", "-y"}).stdout_text == "Run train deleted\n");
  CHECK_THAT(user.Run({"delete", "-f", "unnamed.yml", "-y"}).stderr_text, Contains("name"));
  CHECK(user.Run({"delete", "-f", "fleet.yml", "-y"}).exit.code == 1);
  api::v1::Fleet fleet;
  fleet.set_id("f-1");
  fleet.set_name("lab");
  server.PutFleet(fleet);
  CHECK(user.Run({"delete", "-f", "fleet.yml", "-y"}).stdout_text == "Fleet lab deleted\n");
}

TEST_CASE("projects are checked, stored privately and chosen") {
  FakeServer server;
  CliUser user(server);
  const std::string token(FakeServer::kToken);
  const auto wrong =
      user.Run({"project", "add", "--name", "main", "--url", server.url(), "--token", "wrong"});
  CHECK(wrong.exit.code == 1);
  CHECK_THAT(wrong.stderr_text, Contains("token") && !Contains("wrong"));
  const auto unknown =
      user.Run({"project", "add", "--name", "other", "--url", server.url(), "--token", token});
  CHECK_THAT(unknown.stderr_text, Contains("Project other not found"));
  REQUIRE(user.Run({"project", "add", "--name", "main", "--url", server.url(), "--token", token})
              .exit.code == 0);
  struct stat info {};
  REQUIRE(stat((user.home() + "/.dstack/config.yml").c_str(), &info) == 0);
  CHECK((info.st_mode & 0777) == 0600);
  const std::string list = user.Run({"project", "list", "-v"}).stdout_text;
  CHECK_THAT(list, Contains("main") && Contains("admin") && Contains("✓") && !Contains(token));
  CHECK(user.Run({"project", "set-default", "none"}).exit.code == 1);
  CHECK(user.Run({"project", "set-default", "main"}).exit.code == 0);
  CHECK(user.Run({"project", "delete", "--name", "main", "-y"}).exit.code == 0);
  CHECK_THAT(user.Run({"project"}).stdout_text, !Contains("main"));
}

TEST_CASE("a server that does not answer is named") {
  FakeServer server;
  CliUser user(server);
  const std::string url = server.url();
  for (int i = 0; i < 4; ++i) {
    server.FailNext("ListRuns", grpc::Status(grpc::StatusCode::UNAVAILABLE, "refused"));
  }
  const auto result = user.Run({"ps"});
  CHECK(result.exit.code == 1);
  CHECK_THAT(result.stderr_text, Contains("Cannot connect to " + url));
}

TEST_CASE("config check needs no server") {
  FakeServer server;
  CliUser user(server);
  user.WriteFile("good.yml", "type: task\ncommands: [x]\n");
  user.WriteFile("bad.yml", "type: task\ncommands: [x]\nresources:\n  gpu: 1..0\n");
  const auto good = user.Run({"config", "check", "good.yml"});
  CHECK(good.exit.code == 0);
  CHECK(good.stdout_text == "good.yml is a valid task\n");
  const auto bad = user.Run({"config", "check", "bad.yml"});
  CHECK(bad.exit.code == 1);
  CHECK_THAT(bad.stderr_text, Contains("bad.yml:4") && Contains("gpu"));
  CHECK(server.CallsOf("PlanRun") == 0);
}

TEST_CASE("version, help and usage errors") {
  FakeServer server;
  CliUser user(server);
  CHECK(user.Run({"-v"}).stdout_text == "0.1.0\n");
  CHECK_THAT(user.Run({}).stdout_text, Contains("apply"));
  CHECK_THAT(user.Run({"apply", "-h"}).stdout_text, Contains("--max-duration"));
  CHECK(user.Run({"logs"}).exit.code == 2);
}

}  // namespace
}  // namespace dstack::cli
