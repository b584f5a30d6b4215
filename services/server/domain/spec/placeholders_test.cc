#include "services/server/domain/spec/placeholders.h"

#include <catch2/catch.hpp>

namespace dstack::server {
namespace {

using Catch::Contains;

config::v1::RunConfiguration TaskWith(const std::string& value, const std::string& command) {
  config::v1::RunConfiguration run;
  auto* variable = run.add_env();
  variable->set_name("A");
  variable->set_value(value);
  run.mutable_task()->add_commands("true");
  run.mutable_task()->add_commands(command);
  return run;
}

TEST_CASE("what the server cannot replace is refused with its path") {
  struct Row {
    const char* value;
    const char* command;
    const char* field;
    const char* part;
  };
  const std::vector<Row> rows = {
      {"${{ secrets.missing }}", "", "env[0]", "keeps no secrets (A)"},
      {"${{ env.B }}", "", "env[0]", "`env.B`"},
      {"${{ dstack.job_num }}", "", "env[0]", "`dstack.job_num`"},
      {"${{ groups[0].nodes[0].IP_ADDRESS }}", "", "env[0]", "illegal"},
      {"${{ secrets.a", "", "env[0]", "without `}}`"},
      {"", "${{ groups[0].nodes[0].IP_ADDRESS }}", "commands[1]", "no addresses of nodes"},
      {"", "${{ groups[0].nodes[1].IP_ADDRESS }}", "commands[1]", "does not have"},
      {"", "${{ groups[0].replicas[0].IP_ADDRESS }}", "commands[1]", "`nodes[...]`"},
  };
  for (const Row& row : rows) {
    INFO(row.value << " | " << row.command);
    const auto violations = FindPlaceholderViolations(TaskWith(row.value, row.command));
    REQUIRE_FALSE(violations.empty());
    CHECK(violations[0].field == row.field);
    CHECK_THAT(violations[0].description, Contains(row.part));
  }
}

TEST_CASE("ordinary dollars and the shell's own words pass") {
  for (const char* text : {"$HOME", "$$", "${X}", "100%", "$${{ secrets.x }}"}) {
    INFO(text);
    CHECK(FindPlaceholderViolations(TaskWith(text, "echo $HOME ${{ secrets.x }}")).empty());
  }
}

TEST_CASE("credentials of a registry name their own field") {
  config::v1::RunConfiguration run = TaskWith("", "");
  run.mutable_registry_auth()->set_username("ann");
  run.mutable_registry_auth()->set_password("${{ secrets.token }}");
  const auto violations = FindPlaceholderViolations(run);
  REQUIRE(violations.size() == 1);
  CHECK(violations[0].field == "registry_auth.password");
}

TEST_CASE("escapes end here") {
  CHECK(ReplacePlaceholders("a$$b") == "a$b");
  CHECK(ReplacePlaceholders("$HOME $$") == "$HOME $$");
  CHECK(ReplacePlaceholders("${{ env.B }}") == "${{ env.B }}");
}

}  // namespace
}  // namespace dstack::server
