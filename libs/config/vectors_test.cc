// Runs the rows of tests/fixtures/vectors: `kind | input | canonical JSON or reason`.
#include <fstream>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "libs/base/status.h"
#include "libs/config/canonical_json.h"
#include "libs/config/defaults.h"
#include "libs/config/document.h"
#include "libs/testing/paths.h"

namespace dstack::config {
namespace {

using nlohmann::json;

struct Row {
  std::string kind;
  std::string input;
  std::string expected;
};

std::vector<Row> ReadRows(const std::string& name) {
  std::ifstream file(testing::SourceDir() + "/tests/fixtures/vectors/" + name);
  std::vector<Row> rows;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    const size_t first = line.find(" | ");
    const size_t second = line.find(" | ", first + 3);
    rows.push_back({line.substr(0, first),
                    line.substr(first + 3, second - first - 3),
                    line.substr(second + 3)});
  }
  return rows;
}

// The document around a value of a grammar, and where the value is in its canonical form.
struct Grammar {
  std::string prefix;
  json::json_pointer place;
};

const std::map<std::string, Grammar>& Grammars() {
  static const std::string task = "type: task\nimage: i\n";
  static const std::map<std::string, Grammar> grammars = {
      {"mem", {task + "resources:\n  shm_size: ", json::json_pointer("/resources/shm_size")}},
      {"dur", {task + "retry:\n  duration: ", json::json_pointer("/retry/duration")}},
      {"offdur", {task + "max_duration: ", json::json_pointer("/max_duration")}},
      {"idledur", {task + "idle_duration: ", json::json_pointer("/idle_duration")}},
      {"irange",
       {task + "resources:\n  gpu:\n    count: ", json::json_pointer("/resources/gpu/count")}},
      {"mrange", {task + "resources:\n  memory: ", json::json_pointer("/resources/memory")}},
      {"cpu", {task + "resources:\n  cpu: ", json::json_pointer("/resources/cpu")}},
      {"gpu", {task + "resources:\n  gpu: ", json::json_pointer("/resources/gpu")}},
      {"disk", {task + "resources:\n  disk: ", json::json_pointer("/resources/disk")}},
      {"port", {task + "ports:\n- ", json::json_pointer("/ports/0")}},
      {"mount", {task + "volumes:\n- ", json::json_pointer("/volumes/0")}},
      {"file", {task + "files:\n- ", json::json_pointer("/files/0")}},
      {"repo", {task + "repos:\n- ", json::json_pointer("/repos/0")}},
      {"env", {task + "env: ", json::json_pointer("/env")}},
  };
  return grammars;
}

// The document of a row whose keys are added to a minimal one.
std::string WithKeys(const std::string& kind, const std::string& input) {
  static const std::map<std::string, std::string> minimal = {
      {"task", "type: task, commands: [x]"},
      {"dev", "type: dev-environment"},
      {"service", "type: service, commands: [x], port: 80"},
      {"fleet", "type: fleet"},
  };
  const std::string keys = input.substr(1, input.size() - 2);
  return "{" + minimal.at(kind) + (keys.empty() ? "" : ", " + keys) + "}";
}

absl::StatusOr<json> Parse(const Row& row) {
  if (row.kind == "profiles") {
    const absl::StatusOr<v1::ProfilesFile> profiles = ParseProfiles(row.input, "profiles.yml");
    if (!profiles.ok()) return profiles.status();
    return CanonicalJson(*profiles);
  }
  const auto grammar = Grammars().find(row.kind);
  const bool is_grammar = grammar != Grammars().end();
  const std::string text = is_grammar          ? grammar->second.prefix + row.input + "\n"
                           : row.kind == "raw" ? row.input
                                               : WithKeys(row.kind, row.input);
  absl::StatusOr<Document> document = ParseDocument(text, "test.dstack.yml");
  if (!document.ok()) return document.status();
  if (auto* fleet = std::get_if<v1::FleetConfiguration>(&document->configuration)) {
    ApplyDefaults(fleet);
    return CanonicalJson(*fleet);
  }
  auto& run = std::get<v1::RunConfiguration>(document->configuration);
  if (is_grammar) {
    if (row.kind == "repo") ApplyDefaults(&run);
    return CanonicalJson(run)[grammar->second.place];
  }
  ApplyDefaults(&run);
  return CanonicalJson(run);
}

TEST_CASE("valid vectors give their canonical form") {
  const std::vector<Row> rows = ReadRows("config_valid.txt");
  REQUIRE(rows.size() > 100);
  for (const Row& row : rows) {
    INFO(row.kind << " | " << row.input);
    const absl::StatusOr<json> actual = Parse(row);
    CHECK(actual.status().ToString() == "OK");
    if (actual.ok()) CHECK(Difference(json::parse(row.expected), *actual) == "");
  }
}

TEST_CASE("invalid vectors are refused with a field") {
  const std::vector<Row> rows = ReadRows("config_invalid.txt");
  REQUIRE(rows.size() > 100);
  for (const Row& row : rows) {
    INFO(row.kind << " | " << row.input << " | " << row.expected);
    const absl::StatusOr<json> actual = Parse(row);
    CHECK(actual.status().code() == absl::StatusCode::kInvalidArgument);
    CHECK(!base::FieldViolations(actual.status()).empty());
  }
}

}  // namespace
}  // namespace dstack::config
