#include "services/server/domain/spec/job_spec_builder.h"

#include <catch2/catch.hpp>

#include "services/server/domain/spec/shell_words.h"

namespace dstack::server {
namespace {

using Words = std::vector<std::string>;

Words CommandOf(const config::v1::RunConfiguration& configuration) {
  Run run;
  *run.spec.mutable_configuration() = configuration;
  const auto spec = BuildJobSpec(run, Job(), {});
  return {spec.command().begin(), spec.command().end()};
}

TEST_CASE("commands become one shell line") {
  config::v1::RunConfiguration configuration;
  for (const char* command : {" echo a ", "sleep 1 &", "echo b"})
    configuration.mutable_task()->add_commands(command);
  CHECK(CommandOf(configuration) ==
        Words{"/bin/bash", "-i", "-c", "echo a && { sleep 1 & } && echo b"});
  configuration.set_image("debian");
  CHECK(CommandOf(configuration) == Words{"/bin/sh", "-c", "echo a && { sleep 1 & } && echo b"});
  configuration.set_shell("bash");
  CHECK(CommandOf(configuration)[0] == "/bin/bash");
}

TEST_CASE("an entrypoint is split into words and takes the commands as arguments") {
  config::v1::RunConfiguration configuration;
  configuration.set_image("x");
  configuration.set_entrypoint("python -c 'print(1)'");
  configuration.mutable_task()->add_commands("--flag value");
  CHECK(CommandOf(configuration) == Words{"python", "-c", "print(1)", "--flag value"});
}

TEST_CASE("neither commands nor entrypoint leave the image's own command") {
  config::v1::RunConfiguration configuration;
  configuration.set_image("x");
  configuration.mutable_task();
  CHECK(CommandOf(configuration).empty());
}

TEST_CASE("the run's environment lies over the fleet's") {
  Run run;
  auto* variable = run.spec.mutable_configuration()->add_env();
  variable->set_name("A");
  variable->set_value("run");
  const auto spec = BuildJobSpec(run, Job(), {{"A", "fleet"}, {"B", "fleet"}});
  CHECK(spec.env().at("A") == "run");
  CHECK(spec.env().at("B") == "fleet");
}

TEST_CASE("a whole host means no limits, a share means limits and a network of its own") {
  Run run;
  Job job;
  job.id = JobId("id");
  job.offer.emplace();
  job.offer->set_total_blocks(4);
  job.offer->set_blocks(4);
  job.offer->mutable_resources()->set_cpus(8);
  job.offer->mutable_resources()->set_memory_bytes(1024);
  shim::v1::TaskSpec whole = BuildTaskSpec(run, job, {.runner_token = "token"});
  CHECK(whole.network_mode() == shim::v1::NETWORK_MODE_HOST);
  CHECK(whole.cpu_milli() == 0);
  CHECK(whole.gpu_count() == -1);

  job.offer->set_blocks(1);
  shim::v1::TaskSpec share = BuildTaskSpec(run, job, {.runner_token = "token"});
  CHECK(share.network_mode() == shim::v1::NETWORK_MODE_BRIDGE);
  CHECK(share.cpu_milli() == 8000);
  CHECK(share.memory_bytes() == 1024);
  CHECK(share.gpu_count() == 0);
}

TEST_CASE("a run with an engine inside has its image, full privileges and a network of its own") {
  Run run;
  run.spec.mutable_configuration()->set_docker(true);
  run.spec.mutable_configuration()->mutable_task()->add_commands("docker ps");
  Job job;
  job.offer.emplace();
  job.offer->set_total_blocks(1);
  const shim::v1::TaskSpec task = BuildTaskSpec(run, job, {.docker_image = "dind:1"});
  CHECK(task.image() == "dind:1");
  CHECK(task.needs_docker());
  CHECK(task.network_mode() == shim::v1::NETWORK_MODE_BRIDGE);

  const Words command = CommandOf(run.spec.configuration());
  CHECK(command[0] == "/bin/bash");
  CHECK_THAT(command.back(), Catch::Contains("start-dockerd") && Catch::EndsWith(" && docker ps"));
  CHECK_FALSE(BuildTaskSpec(Run(), job, {.docker_image = "dind:1"}).needs_docker());
}

TEST_CASE("users are ids or names") {
  Run run;
  run.spec.mutable_configuration()->set_user("1000:staff");
  const auto spec = BuildJobSpec(run, Job(), {});
  CHECK(spec.user().uid() == 1000);
  CHECK(spec.user().groupname() == "staff");
}

TEST_CASE("the grace of a stop") {
  api::v1::RunSpec spec;
  CHECK(StopGrace(spec) == std::chrono::seconds(300));
  auto* stop = spec.mutable_configuration()->mutable_profile()->mutable_stop_duration();
  stop->mutable_duration()->set_seconds(5);
  CHECK(StopGrace(spec) == std::chrono::seconds(5));
  stop->set_off(true);
  CHECK(StopGrace(spec) == std::chrono::hours(24));
}

TEST_CASE("shell words") {
  struct Row {
    const char* text;
    Words words;
  };
  const Row row = GENERATE(Row{"a  b\tc", {"a", "b", "c"}},
                           Row{"'a b' \"c d\"", {"a b", "c d"}},
                           Row{"a'b'\"c\"", {"abc"}},
                           Row{"a\\ b", {"a b"}},
                           Row{"\"\\$x \\n\"", {"$x \\n"}},
                           Row{"'' x", {"", "x"}},
                           Row{"", {}});
  INFO(row.text);
  const auto words = SplitShellWords(row.text);
  REQUIRE(words.ok());
  CHECK(*words == row.words);
}

TEST_CASE("shell words that do not end") {
  for (const char* text : {"'a", "\"a", "a\\"}) CHECK_FALSE(SplitShellWords(text).ok());
}

}  // namespace
}  // namespace dstack::server
