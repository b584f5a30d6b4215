// Everything of the command line that needs no server: flags, files, settings, outcomes.

#include <tuple>

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clients/cli/commands/profiles.h"
#include "clients/cli/files/archive.h"
#include "clients/cli/files/ignore.h"
#include "clients/cli/flags/run_flags.h"
#include "clients/cli/flags/since.h"
#include "clients/cli/follow/outcome.h"
#include "clients/cli/follow/reconnect.h"
#include "clients/cli/session/connection.h"
#include "clients/cli/session/project_store.h"
#include "libs/base/file.h"
#include "libs/base/status.h"
#include "libs/testing/manual_clock.h"
#include "libs/testing/temp_dir.h"

namespace dstack::cli {
namespace {

using namespace std::chrono_literals;
using Catch::Contains;

std::string Text(const absl::Status& status) { return std::string(base::Message(status)); }

TEST_CASE("flags replace values and lists of the document, and merge variables and ports") {
  config::v1::RunConfiguration run;
  run.mutable_task()->add_ports()->set_container_port(80);
  run.mutable_profile()->add_regions("eu");
  run.add_env()->set_name("A");
  RunFlags flags{.name = "nn", .env = {"A=1", "B"}, .cpu = "4..", .disk = "50GB"};
  flags.regions = {"us", "asia"};
  flags.fleets = {"lab", "infra/h100"};
  flags.reuse = true;
  flags.spot_auto = true;
  flags.retry_duration = "1h";
  flags.ports = {"8080:80", "9000"};
  REQUIRE(ApplyRunFlags(flags, &run).ok());
  CHECK(run.name() == "nn");
  CHECK(run.resources().cpu().count().min() == 4);
  CHECK(run.resources().disk().size().max_bytes() == 50ULL << 30);
  CHECK(run.profile().regions_size() == 2);
  CHECK(run.profile().fleets(1).project() == "infra");
  CHECK(run.profile().creation_policy() == config::v1::CREATION_POLICY_REUSE);
  CHECK(run.profile().spot_policy() == config::v1::SPOT_POLICY_AUTO);
  CHECK(run.profile().retry().enabled());
  CHECK(run.profile().retry().duration().seconds() == 3600);
  REQUIRE(run.task().ports_size() == 2);
  CHECK(run.task().ports(0).local_port() == 8080);
  REQUIRE(run.env_size() == 2);
  CHECK(run.env(0).value() == "1");
}

TEST_CASE("all wrong flags are reported at once") {
  config::v1::RunConfiguration run;
  run.mutable_service();
  RunFlags flags{.env = {"1bad="}, .memory = "lots", .max_price = "nan", .max_duration = "soon"};
  flags.spot_policy = "never";
  flags.ports = {"80"};
  const std::string text = Text(ApplyRunFlags(flags, &run));
  for (const char* flag :
       {"--env", "--memory", "--max-price", "--max-duration", "--spot-policy", "--port"}) {
    CHECK_THAT(text, Contains(flag));
  }
}

TEST_CASE("variables without a value come from the environment, or are named") {
  config::v1::RunConfiguration run;
  run.add_env()->set_name("PRESENT");
  run.add_env()->set_name("ABSENT");
  run.add_env()->set_name("EMPTY");
  Environment environment;
  environment.variables = {{"PRESENT", "x"}, {"EMPTY", ""}};
  const absl::Status status = FillEnv(environment, run.mutable_env());
  CHECK_THAT(Text(status), Contains("ABSENT") && !Contains("PRESENT") && !Contains("EMPTY"));
  CHECK(run.env(0).value() == "x");
}

TEST_CASE("the flag --since is a duration or a time with a zone") {
  const base::WallTime now{std::chrono::seconds(1'800'000'000)};
  CHECK(ParseSince("10m", now)->seconds() == 1'799'999'400);
  CHECK(ParseSince("2027-01-15T08:00:00Z", now)->seconds() == 1'800'000'000);
  CHECK(ParseSince("2027-01-15T09:00:00.5+01:00", now)->nanos() == 500'000'000);
  CHECK(ParseSince("315576000000", now)->seconds() == 0);
  for (const char* text : {"2027-01-15T08:00:00", "yesterday", "", "-5m"}) {
    INFO(text);
    CHECK_FALSE(ParseSince(text, now).ok());
  }
}

TEST_CASE("ignore rules follow git") {
  IgnoreRules rules;
  rules.AddFile("", "# comment\n*.log\n!keep.log\nbuild/\n/top\ndocs/**/tmp\n\\#odd\n");
  rules.AddFile("sub", "inner\n/here\n");
  const std::tuple<const char*, bool, bool> rows[] = {
      {"a.log", false, true},       {"x/a.log", false, true}, {"keep.log", false, false},
      {"build", true, true},        {"build", false, false},  {"x/build", true, true},
      {"top", false, true},         {"x/top", false, false},  {"docs/tmp", true, true},
      {"docs/a/b/tmp", true, true}, {"#odd", false, true},    {"sub/inner", false, true},
      {"sub/x/inner", false, true}, {"inner", false, false},  {"sub/here", false, true},
      {"sub/x/here", false, false}, {".git", true, true},     {"x/.git", true, true},
      {".github", true, false},
  };
  for (const auto& [path, is_directory, is_ignored] : rows) {
    INFO(path);
    CHECK(rules.IsIgnored(path, is_directory) == is_ignored);
  }
}

TEST_CASE("archives are the same for the same content") {
  testing::TempDir first;
  testing::TempDir second;
  for (const auto* dir : {&first, &second}) {
    REQUIRE(base::MakeDirs(dir->Path("code/lib")).ok());
    REQUIRE(base::WriteFileAtomic(dir->Path("code/run.sh"), "#!/bin/sh\n", 0755).ok());
    REQUIRE(base::WriteFileAtomic(dir->Path("code/lib/a.txt"), "a").ok());
    REQUIRE(symlink("lib/a.txt", dir->Path("code/link").c_str()) == 0);
    REQUIRE(mkfifo(dir->Path("code/pipe").c_str(), 0600) == 0);
  }
  const timespec old[2] = {{1000, 0}, {1000, 0}};
  REQUIRE(utimensat(AT_FDCWD, second.Path("code/run.sh").c_str(), old, 0) == 0);
  const auto a = PackPath(first.Path("code"), 0);
  const auto b = PackPath(second.Path("code/"), 0);
  REQUIRE(a.ok());
  REQUIRE(b.ok());
  CHECK(a->digest == b->digest);
  CHECK(a->digest.size() == 64);
  CHECK_THAT(a->bytes, Contains("code/run.sh") && Contains("code/lib/a.txt"));
  CHECK(a->skipped == std::vector<std::string>{first.Path("code/pipe")});
}

TEST_CASE("archives that are too large or missing are errors that name the path") {
  testing::TempDir dir;
  REQUIRE(base::WriteFileAtomic(dir.Path("big"), std::string(100'000, 'x')).ok());
  const auto big = PackPath(dir.Path("big"), 50'000);
  CHECK(base::Reason(big.status()) == "TOO_LARGE");
  CHECK_THAT(Text(big.status()), Contains(dir.Path("big")));
  CHECK(absl::IsNotFound(PackPath(dir.Path("none"), 0).status()));
}

TEST_CASE("the exit code is that of the first command that failed") {
  api::v1::Run run;
  run.set_status(api::v1::RUN_STATUS_DONE);
  CHECK(ExitCode(run) == 0);
  run.set_status(api::v1::RUN_STATUS_TERMINATED);
  CHECK(ExitCode(run) == 1);
  run.set_status(api::v1::RUN_STATUS_FAILED);
  CHECK(ExitCode(run) == 1);
  run.add_jobs()->add_submissions()->set_status(api::v1::JOB_STATUS_DONE);
  auto* killed = run.add_jobs()->add_submissions();
  killed->set_status(api::v1::JOB_STATUS_FAILED);
  killed->set_termination_reason(api::v1::JOB_TERMINATION_REASON_INSTANCE_UNREACHABLE);
  killed->set_exit_status(9);
  CHECK(ExitCode(run) == 1);
  auto* job = run.add_jobs();
  job->add_submissions()->set_exit_status(99);
  auto* failed = job->add_submissions();
  failed->set_status(api::v1::JOB_STATUS_FAILED);
  failed->set_termination_reason(api::v1::JOB_TERMINATION_REASON_CONTAINER_EXITED_WITH_ERROR);
  for (const auto& [status, code] : {std::pair(3, 3),
                                     std::pair(255, 255),
                                     std::pair(256, 1),
                                     std::pair(0, 1),
                                     std::pair(-1, 1)}) {
    failed->set_exit_status(status);
    CHECK(ExitCode(run) == code);
  }
  run.set_status(api::v1::RUN_STATUS_UNSPECIFIED);
  CHECK(ExitCode(run) == 1);
}

TEST_CASE("the outcome tells what failed and hides escapes") {
  api::v1::Run run;
  run.set_status(api::v1::RUN_STATUS_FAILED);
  auto* submission = run.add_jobs()->add_submissions();
  submission->set_status(api::v1::JOB_STATUS_FAILED);
  submission->set_status_message("error");
  submission->set_termination_message("image \x1b[2J not found");
  CHECK(OutcomeText(run) == "Failed (error)\nImage \\x1b[2J not found");
  CHECK(HasDiagnostics(run));
  submission->set_termination_reason(
      api::v1::JOB_TERMINATION_REASON_FAILED_TO_START_DUE_TO_NO_CAPACITY);
  CHECK_FALSE(HasDiagnostics(run));
  run.set_status(api::v1::RUN_STATUS_DONE);
  CHECK(OutcomeText(run) == "Done (error)");
}

TEST_CASE("projects are stored with one default and mode 0600") {
  testing::TempDir dir;
  const ProjectStore store(dir.Path("home/config.yml"));
  config::v1::ClientConfig config = *store.Load();
  CHECK(config.projects().empty());
  config::v1::ClientProject project;
  project.set_url("http://127.0.0.1:3000");
  project.set_token("t0ken: \"#\n");
  for (const char* name : {"main", "lab"}) {
    project.set_name(name);
    PutProject(project, false, &config);
  }
  CHECK(DefaultProject(config)->name() == "main");
  project.set_url("http://10.0.0.1");
  project.set_name("main");
  PutProject(project, false, &config);
  CHECK(config.projects_size() == 2);
  CHECK(DefaultProject(config)->url() == "http://10.0.0.1");
  REQUIRE(SetDefaultProject("lab", &config).ok());
  CHECK(DefaultProject(config)->name() == "lab");
  CHECK(absl::IsNotFound(SetDefaultProject("none", &config)));
  CHECK(absl::IsNotFound(RemoveProject("none", &config)));
  REQUIRE(store.Save(config).ok());
  struct stat info {};
  REQUIRE(stat(store.path().c_str(), &info) == 0);
  CHECK((info.st_mode & 0777) == 0600);
  const auto back = store.Load();
  REQUIRE(back.ok());
  CHECK(back->SerializeAsString() == config.SerializeAsString());
}

TEST_CASE("a settings file that cannot be understood is never taken for empty") {
  testing::TempDir dir;
  REQUIRE(base::WriteFileAtomic(dir.Path("config.yml"), "projects: {a: [\n").ok());
  CHECK_FALSE(ProjectStore(dir.Path("config.yml")).Load().ok());
}

TEST_CASE("the target comes from flags, variables and the settings, in this order") {
  testing::TempDir dir;
  const ProjectStore store(dir.Path("config.yml"));
  Environment environment;
  CHECK_THAT(Text(ResolveTarget("", environment, store).status()), Contains("No project"));
  config::v1::ClientConfig config;
  config::v1::ClientProject project;
  project.set_url("http://stored");
  project.set_token("stored");
  for (const char* name : {"main", "lab"}) {
    project.set_name(name);
    PutProject(project, false, &config);
  }
  REQUIRE(store.Save(config).ok());
  CHECK(ResolveTarget("", environment, store)->project == "main");
  environment.variables["DSTACK_PROJECT"] = "lab";
  CHECK(ResolveTarget("", environment, store)->project == "lab");
  CHECK(ResolveTarget("main", environment, store)->project == "main");
  CHECK(absl::IsNotFound(ResolveTarget("none", environment, store).status()));
  environment.variables["DSTACK_TOKEN"] = "given";
  CHECK(ResolveTarget("", environment, store)->token.Reveal() == "given");
  CHECK(ResolveTarget("", environment, store)->url == "http://stored");
  environment.variables["DSTACK_SERVER_URL"] = "http://given";
  CHECK(ResolveTarget("none", environment, store)->url == "http://given");
  environment.variables.erase("DSTACK_PROJECT");
  CHECK_THAT(Text(ResolveTarget("", environment, store).status()), Contains("DSTACK_PROJECT"));
}

TEST_CASE("profiles: the flag, the variable, the default, and the working directory first") {
  testing::TempDir dir;
  Environment environment;
  environment.home = dir.Path("home");
  environment.working_directory = dir.Path("work");
  REQUIRE(base::MakeDirs(dir.Path("home/.dstack")).ok());
  REQUIRE(base::MakeDirs(dir.Path("work/.dstack")).ok());
  REQUIRE(base::WriteFileAtomic(dir.Path("home/.dstack/profiles.yml"),
                                "profiles:\n- {name: far, default: true, max_price: 1}\n"
                                "- {name: both, max_price: 1}\n")
              .ok());
  CHECK((*ChooseProfile(environment, "", false))->name() == "far");
  REQUIRE(base::WriteFileAtomic(dir.Path("work/.dstack/profiles.yml"),
                                "profiles:\n- {name: both, max_price: 2}\n")
              .ok());
  CHECK((*ChooseProfile(environment, "both", false))->params().max_price() == 2);
  CHECK(absl::IsNotFound(ChooseProfile(environment, "none", false).status()));
  CHECK_FALSE(ChooseProfile(environment, "both", true)->has_value());
  environment.variables["DSTACK_PROFILE"] = "both";
  CHECK((*ChooseProfile(environment, "", false))->name() == "both");
  environment.variables["DSTACK_NO_PROFILE"] = "1";
  CHECK_FALSE(ChooseProfile(environment, "", false)->has_value());
  CHECK(ChooseProfile(environment, "both", false)->has_value());
}

TEST_CASE("a lost connection is announced once, told when it is back, and given up in the end") {
  testing::ManualClock clock;
  base::SeededRandom random(1);
  Stopper stopper;
  int lost = 0;
  int restored = 0;
  const ReconnectPolicy policy{
      .backoff = {.initial = 0ms, .max = 0ms}, .give_up_after = 10min, .quiet_for = 1s};
  Reconnect reconnect(
      policy,
      {.on_lost = [&](const absl::Status&) { ++lost; }, .on_restored = [&] { ++restored; }},
      clock,
      random);
  const absl::Status broken = absl::UnavailableError("reset");
  REQUIRE(reconnect.WaitAfter(broken, stopper).ok());
  CHECK(lost == 0);
  clock.Advance(2s);
  REQUIRE(reconnect.WaitAfter(broken, stopper).ok());
  REQUIRE(reconnect.WaitAfter(broken, stopper).ok());
  CHECK(lost == 1);
  reconnect.Succeeded();
  CHECK(restored == 1);
  REQUIRE(reconnect.WaitAfter(broken, stopper).ok());
  clock.Advance(11min);
  CHECK(reconnect.WaitAfter(broken, stopper) == broken);
  const absl::Status refused =
      base::Error(absl::StatusCode::kUnauthenticated, "INVALID_TOKEN", "no");
  CHECK(reconnect.WaitAfter(refused, stopper) == refused);
  stopper.Stop();
  CHECK(absl::IsCancelled(reconnect.WaitAfter(broken, stopper)));
}

}  // namespace
}  // namespace dstack::cli
