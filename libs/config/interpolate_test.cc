#include "libs/config/interpolate.h"

#include <fstream>
#include <iterator>
#include <string>

#include <catch2/catch.hpp>

#include "libs/base/status.h"
#include "libs/testing/paths.h"

namespace dstack::config {
namespace {

// The original's list is for `${x}`, which nothing replaces (see job_env_test.cc of the runner);
// this is the same list for the references that documents have.
TEST_CASE("E1 references, doubled dollars, and forms that are none") {
  const InterpolationOptions options{.values = {{"run", {{"args", "ARGS"}, {"e", ""}}}},
                                     .kept_namespaces = {"secrets"}};
  struct Row {
    const char* text;
    const char* result;  // nullptr: an error
  };
  const Row rows[] = {
      // Replaced.
      {"", ""},
      {"plain", "plain"},
      {"${{ run.args }}", "ARGS"},
      {"${{run.args}}", "ARGS"},
      {"a ${{ run.args }} b", "a ARGS b"},
      {"${{ run.args }}${{ run.args }}", "ARGSARGS"},
      {"[${{ run.e }}]", "[]"},
      {"${{\trun.args\t}}", "ARGS"},
      {"${{ secrets.x }}", "${{ secrets.x }}"},
      // Doubled dollars.
      {"$$", "$"},
      {"$$$$", "$$"},
      {"a$$b", "a$b"},
      {"$${{ run.args }}", "${{ run.args }}"},
      {"$$${{ run.args }}", "$ARGS"},
      {"$$$${{ run.args }}", "$${{ run.args }}"},
      {"$$$$${{ run.args }}", "$$ARGS"},
      {"$${{ no such form", "${{ no such form"},
      // No references of ours.
      {"$", "$"},
      {"a$", "a$"},
      {"$HOME", "$HOME"},
      {"${HOME}", "${HOME}"},
      {"${X:-y} $(ls)", "${X:-y} $(ls)"},
      {"{{ run.args }}", "{{ run.args }}"},
      {"}}", "}}"},
      {"$ {{ run.args }}", "$ {{ run.args }}"},
      // Errors.
      {"${{ run.args", nullptr},
      {"${{ run.args }", nullptr},
      {"${{}}", nullptr},
      {"${{ run }}", nullptr},
      {"${{ run. }}", nullptr},
      {"${{ run.1a }}", nullptr},
      {"${{ run.args.more }}", nullptr},
      {"${{ run.nothing }}", nullptr},
  };
  CHECK(std::size(rows) == 33);
  for (const Row& row : rows) {
    INFO(row.text);
    const auto result = Interpolate(row.text, options);
    CHECK(result.ok() == (row.result != nullptr));
    if (result.ok() && row.result != nullptr) CHECK(*result == row.result);
  }
}

TEST_CASE("the client's pass over a run") {
  v1::RunConfiguration run;
  run.mutable_task()->add_commands("python train.py ${{ run.args }}");
  run.mutable_registry_auth()->set_username("${{ env.USER_NAME }}");
  run.mutable_registry_auth()->set_password("${{ secrets.token }}");
  v1::EnvVar* variable = run.add_env();
  variable->set_name("USER_NAME");
  variable->set_value("bob");
  REQUIRE(InterpolateRun({"--lr", "it's 1"}, &run).ok());
  CHECK(run.task().commands(0) == "python train.py --lr 'it'\"'\"'s 1'");
  CHECK(run.registry_auth().username() == "bob");
  CHECK(run.registry_auth().password() == "${{ secrets.token }}");
}

TEST_CASE("all wrong references of a run are reported") {
  v1::RunConfiguration run;
  run.mutable_service()->add_commands("echo ${{ env.A }}");
  run.mutable_service()->add_probes()->set_url("/${{ run.args }}");
  const auto violations = base::FieldViolations(InterpolateRun({}, &run));
  REQUIRE(violations.size() == 2);
  CHECK(violations[0].field == "commands[0]");
  CHECK(violations[1].field == "probes[0].url");
}

TEST_CASE("group addresses are replaced and checked") {
  const auto resolve = [](const GroupAddress& address) -> absl::StatusOr<std::string> {
    return "10.0." + std::to_string(address.group) + "." + std::to_string(address.member);
  };
  CHECK(*ReplaceGroupAddresses("ping ${{ groups[1].nodes[2].IP_ADDRESS }} $$ ${{ secrets.x }}",
                               resolve) == "ping 10.0.1.2 $$ ${{ secrets.x }}");
  v1::RunConfiguration run;
  run.mutable_task()->set_nodes(2);
  run.mutable_task()->add_commands("${{ groups[0].nodes[1].IP_ADDRESS }}");
  CHECK(CheckGroupAddresses(run).ok());
  run.mutable_task()->add_commands("${{ groups[0].nodes[2].IP_ADDRESS }}");
  run.mutable_task()->add_commands("${{ groups[0].replicas[0].IP_ADDRESS }}");
  CHECK(base::FieldViolations(CheckGroupAddresses(run)).size() == 2);
}

TEST_CASE("words are quoted for a shell only where needed") {
  CHECK(ShellQuote("a-b/c=1") == "a-b/c=1");
  CHECK(ShellQuote("") == "''");
  CHECK(ShellQuote("a b") == "'a b'");
  CHECK(ShellQuote("$(x)") == "'$(x)'");
}

}  // namespace
}  // namespace dstack::config
