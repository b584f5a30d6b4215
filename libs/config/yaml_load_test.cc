#include "libs/config/yaml_load.h"

#include <string>

#include <catch2/catch.hpp>

namespace dstack::config {
namespace {

LoadedYaml Load(const std::string& text) {
  absl::StatusOr<LoadedYaml> loaded = LoadYaml(text, "f.yml");
  INFO(loaded.status());
  REQUIRE(loaded.ok());
  return *std::move(loaded);
}

std::string Error(const std::string& text) {
  const absl::StatusOr<LoadedYaml> loaded = LoadYaml(text, "f.yml");
  CHECK(loaded.status().code() == absl::StatusCode::kInvalidArgument);
  return std::string(loaded.status().message());
}

const Node* Find(const LoadedYaml& yaml, const std::string& key) {
  for (const Entry& entry : yaml.root->entries) {
    if (entry.key == key) return entry.value.get();
  }
  return nullptr;
}

TEST_CASE("values know their place") {
  const LoadedYaml yaml = Load("a: 1\nb:\n  - x\n  - 'on'\n");
  CHECK(Find(yaml, "a")->mark.line == 1);
  CHECK(Find(yaml, "a")->mark.column == 4);
  const Node& last = *Find(yaml, "b")->items.at(1);
  CHECK(last.mark.line == 4);
  CHECK(last.kind == NodeKind::kString);
  CHECK(last.text == "on");
}

TEST_CASE("the last of duplicate keys wins, with a warning") {
  const LoadedYaml yaml = Load("a: 1\nb: 2\na: 3\n");
  CHECK(Find(yaml, "a")->int_value == 3);
  CHECK(yaml.root->entries.size() == 2);
  REQUIRE(yaml.warnings.size() == 1);
  CHECK(FormatProblem(yaml.warnings[0]) ==
        "f.yml:3:1: a: is given twice; the value of line 1 is ignored");
}

TEST_CASE("aliases and merge keys work") {
  const LoadedYaml yaml =
      Load("base: &b {x: 1, y: 2}\nother: &o {y: 5, z: 6}\nm: {<<: [*b, *o], x: 9}\nn: *b\n");
  const Node& merged = *Find(yaml, "m");
  REQUIRE(merged.entries.size() == 3);
  CHECK(merged.entries[0].value->int_value == 9);
  CHECK(merged.entries[1].key == "y");
  CHECK(merged.entries[1].value->int_value == 2);
  CHECK(merged.entries[2].value->int_value == 6);
  CHECK(Find(yaml, "n")->entries.size() == 2);
  CHECK(yaml.warnings.empty());
}

TEST_CASE("a byte order mark, CRLF and tags of YAML are accepted") {
  const LoadedYaml yaml = Load(
      "\xEF\xBB\xBF"
      "a: x\r\nb: !!str 5\r\nc: |\r\n  l1\r\n  l2\r\n");
  CHECK(Find(yaml, "a")->text == "x");
  CHECK(Find(yaml, "b")->kind == NodeKind::kString);
  CHECK(Find(yaml, "c")->text == "l1\nl2\n");
}

TEST_CASE("an empty document is null") {
  CHECK(Load("").root->kind == NodeKind::kNull);
  CHECK(Load("# nothing\n").root->kind == NodeKind::kNull);
}

TEST_CASE("documents beyond the limits are refused") {
  CHECK(Error(std::string(kMaxDocumentBytes + 1, 'a')).find("1048576 bytes") != std::string::npos);
  CHECK(Error(std::string(10'000, '[')).find("100 deep") != std::string::npos);
  std::string nested;
  for (int i = 0; i < 200; ++i) nested += std::string(static_cast<size_t>(i), ' ') + "a:\n";
  CHECK(Error(nested).find("100 deep") != std::string::npos);
  std::string bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n";
  for (int i = 1; i < 10; ++i) {
    const std::string previous = "*a" + std::to_string(i - 1);
    bomb += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [";
    for (int k = 0; k < 10; ++k) bomb += (k > 0 ? "," : "") + previous;
    bomb += "]\n";
  }
  CHECK(Error(bomb).find("30000 values") != std::string::npos);
}

TEST_CASE("a quote that is never closed is refused where it opens") {
  for (const std::string text : {"a: \"b\nc: d\n", "a: 'b\n", "a: \"b\\\"", "- 'it''s", "a: \""}) {
    INFO(text);
    CHECK(Error(text).find("a quote is not closed") != std::string::npos);
  }
  CHECK(Load("a: 'it''s'\nb: \"x\\\\\"\n").root->entries.size() == 2);
}

TEST_CASE("malformed documents are refused with their place") {
  CHECK(Error("a: 1\n---\nb: 2\n").find("one document") != std::string::npos);
  CHECK(Error("a: [1, 2\nb: 3\n").find("f.yml:") == 0);
  CHECK(Error("a: *b\n").find("refers to no anchor") != std::string::npos);
  CHECK(Error("? [a]\n: 1\n").find("a key must be a word") != std::string::npos);
  CHECK(Error("a: !!python/object x\n").find("tag") != std::string::npos);
  CHECK(Error("a: \x01").find("f.yml:1:4: control characters") == 0);
  CHECK(Error(std::string("a: b\0c", 6)).find("control characters") != std::string::npos);
  CHECK(Error("a: \xff\xfe").find("UTF-8") != std::string::npos);
  CHECK(Error("a:\n\t- b\n").find("f.yml:2") == 0);
  CHECK(Error("<<: 5\n").find("needs a mapping") != std::string::npos);
}

TEST_CASE("a syntax error does not show a line that may hold a secret") {
  const std::string error = Error("env:\n  - TOKEN=hunter2: [\n");
  CHECK(error.find("hunter2") == std::string::npos);
}

}  // namespace
}  // namespace dstack::config
