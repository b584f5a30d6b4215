// The rows of tests/fixtures/vectors, each a test case of its own: `kind | input | expected`.
// A row whose input the reference system reads differently stands below a comment that says so.
#include <fstream>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include <catch2/catch.hpp>
#include <fmt/format.h>
#include <google/protobuf/util/message_differencer.h>
#include <nlohmann/json.hpp>

#include "libs/base/status.h"
#include "libs/config/canonical.h"
#include "libs/config/defaults.h"
#include "libs/config/document.h"
#include "libs/config/interpolate.h"
#include "libs/config/text.h"
#include "libs/testing/paths.h"

namespace dstack::config {
namespace {

using nlohmann::json;

struct Row {
  int line = 0;
  std::string kind;
  std::string input;
  std::string expected;
};

std::vector<Row> ReadRows(const std::string& name) {
  std::ifstream file(testing::SourceDir() + "/tests/fixtures/vectors/" + name);
  std::vector<Row> rows;
  int number = 0;
  for (std::string line; std::getline(file, line);) {
    ++number;
    if (line.empty() || line[0] == '#') continue;
    const size_t first = line.find(" | ");
    const size_t second = line.find(" | ", first + 3);
    rows.push_back({number,
                    line.substr(0, first),
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
      {"gateway", "type: gateway, backend: aws, region: r"},
  };
  const std::string keys = input.substr(1, input.size() - 2);
  return "{" + minimal.at(kind) + (keys.empty() ? "" : ", " + keys) + "}";
}

bool IsGrammar(const Row& row) { return Grammars().count(row.kind) > 0; }

std::string TextOf(const Row& row) {
  if (IsGrammar(row)) return Grammars().at(row.kind).prefix + row.input + "\n";
  const bool is_whole = row.kind == "raw" || row.kind == "profiles" || row.kind == "server";
  return is_whole ? row.input : WithKeys(row.kind, row.input);
}

absl::StatusOr<AnyDocument> Parse(const Row& row) {
  const std::string text = TextOf(row);
  AnyDocument document;
  // An empty mapping does not say which of the files without `type` it is.
  if (row.kind == "profiles") {
    absl::StatusOr<v1::ProfilesFile> profiles = ParseProfiles(text, "profiles.yml");
    if (!profiles.ok()) return profiles.status();
    document.content = *std::move(profiles);
    return document;
  }
  if (row.kind == "server") {
    absl::StatusOr<v1::ServerConfig> server = ParseServerConfig(text, "config.yml");
    if (!server.ok()) return server.status();
    document.content = *std::move(server);
    return document;
  }
  return ParseAnyDocument(text, "test.dstack.yml");
}

void Fill(AnyDocument* document) {
  if (auto* configuration = std::get_if<Configuration>(&document->content)) {
    ApplyDefaults(configuration);
  }
}

// Empty where `expected` is contained in `actual`: the keys of mappings match, lists have the same
// length. Else the path of the first difference, with both values.
std::string Difference(const json& expected, const json& actual, const std::string& path = "") {
  if (expected.is_object() && actual.is_object()) {
    for (const auto& [key, value] : expected.items()) {
      const json& other = actual.contains(key) ? actual[key] : json();
      if (std::string found = Difference(value, other, path + "." + key); !found.empty()) {
        return found;
      }
    }
    return "";
  }
  if (expected.is_array() && actual.is_array() && expected.size() == actual.size()) {
    for (size_t i = 0; i < expected.size(); ++i) {
      std::string found = Difference(expected[i], actual[i], path + "[" + std::to_string(i) + "]");
      if (!found.empty()) return found;
    }
    return "";
  }
  if (expected == actual) return "";
  return path + ": expected " + expected.dump() + ", got " + actual.dump();
}

void CheckValid(const Row& row) {
  absl::StatusOr<AnyDocument> document = Parse(row);
  INFO(row.input);
  REQUIRE(document.status().ToString() == "OK");
  // A grammar on its own is shown without what defaults would add.
  if (!IsGrammar(row) || row.kind == "repo") Fill(&*document);
  const json actual = json::parse(CanonicalJson(*document).dump());
  const json& shown = IsGrammar(row) ? actual[Grammars().at(row.kind).place] : actual;
  CHECK(Difference(json::parse(row.expected), shown) == "");

  Fill(&*document);
  const std::string printed = PrintYaml(CanonicalJson(*document));
  INFO(printed);
  absl::StatusOr<AnyDocument> again = ParseAnyDocument(printed, "printed.yml");
  REQUIRE(again.status().ToString() == "OK");
  Fill(&*again);
  CHECK(
      google::protobuf::util::MessageDifferencer::Equals(MessageOf(*document), MessageOf(*again)));
  CHECK(PrintYaml(CanonicalJson(*again)) == printed);
}

void CheckInvalid(const Row& row) {
  INFO(row.input);
  const absl::StatusOr<AnyDocument> document = Parse(row);
  CHECK(document.status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(!base::FieldViolations(document.status()).empty());
}

// Expected is the output, or `! part of the error`.
void CheckInterpolation(const Row& row) {
  const InterpolationOptions options = {.values = {{"run", {{"args", "ARGS"}}}},
                                        .kept_namespaces = {"secrets"},
                                        .keep_group_addresses = true};
  const absl::StatusOr<std::string> actual = Interpolate(row.input, options);
  if (row.expected.starts_with("! ")) {
    INFO(actual.status());
    CHECK(actual.status().message().find(row.expected.substr(2)) != absl::string_view::npos);
    return;
  }
  REQUIRE(actual.status().ToString() == "OK");
  CHECK(*actual == row.expected);
}

class RowTest : public Catch::ITestInvoker {
 public:
  RowTest(void (*check)(const Row&), Row row) : check_(check), row_(std::move(row)) {}
  void invoke() const override { check_(row_); }

 private:
  void (*check_)(const Row&);
  Row row_;
};

// Catch gives some characters in the names of tests a meaning of their own.
std::string NameOf(const std::string& file, const Row& row) {
  std::string input;
  for (const char c : row.kind + " " + row.input) {
    const bool is_safe = IsAsciiAlnum(c) || c == '.' || c == ':' || c == '_' || c == '/';
    if (is_safe) input += c;
    if (c == ' ' && !input.ends_with(' ')) input += ' ';
  }
  return fmt::format("{} {}: {}", file, row.line, TrimBlanks(input.substr(0, 60)));
}

// Registers one test case a row, before main.
bool Register(const std::string& file, std::vector<Row> rows, void (*check)(const Row&)) {
  for (Row& row : rows) {
    const std::string name = NameOf(file, row);
    // Catch takes the invoker over.
    Catch::AutoReg(new RowTest(check, std::move(row)),
                   CATCH_INTERNAL_LINEINFO,
                   Catch::StringRef(),
                   Catch::NameAndTags{name, "[vectors]"});
  }
  return true;
}

const bool kValid = Register("valid", ReadRows("config_valid.txt"), CheckValid);
const bool kInvalid = Register("invalid", ReadRows("config_invalid.txt"), CheckInvalid);
const bool kInterpolation =
    Register("interpolation", ReadRows("interpolation.txt"), CheckInterpolation);

TEST_CASE("the files of vectors have their rows") {
  CHECK(kValid);
  CHECK(kInvalid);
  CHECK(kInterpolation);
  CHECK(ReadRows("config_valid.txt").size() > 120);
  CHECK(ReadRows("config_invalid.txt").size() > 130);
  CHECK(ReadRows("interpolation.txt").size() > 20);
}

}  // namespace
}  // namespace dstack::config
