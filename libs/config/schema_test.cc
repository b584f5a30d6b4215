#include "libs/config/schema.h"

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "libs/testing/paths.h"

namespace dstack::config {
namespace {

using Json = nlohmann::ordered_json;

Json Schema(const std::string& type) {
  const absl::StatusOr<Json> schema = JsonSchema(type);
  REQUIRE(schema.status().ToString() == "OK");
  return *schema;
}

// The names of properties without a description, and of references that lead nowhere.
void FindFaults(const Json& node, const Json& root, std::string* faults) {
  if (node.is_object()) {
    if (node.contains("$ref")) {
      const std::string name = node["$ref"].get<std::string>().substr(8);
      if (!root["$defs"].contains(name)) *faults += name + " is not defined\n";
    }
    if (node.contains("properties")) {
      for (const auto& [key, value] : node["properties"].items()) {
        if (value.contains("const")) continue;
        if (value.value("description", "").empty()) *faults += key + " is not described\n";
      }
    }
    for (const auto& [key, value] : node.items()) FindFaults(value, root, faults);
  }
  if (node.is_array()) {
    for (const Json& item : node) FindFaults(item, root, faults);
  }
}

TEST_CASE("every key of every schema is described, every reference leads somewhere") {
  std::vector<std::string> types = SchemaTypes();
  types.emplace_back("");
  for (const std::string& type : types) {
    INFO(type);
    const Json schema = Schema(type);
    CHECK(schema["$schema"] == "https://json-schema.org/draft/2020-12/schema");
    std::string faults;
    FindFaults(schema, schema, &faults);
    CHECK(faults == "");
  }
}

TEST_CASE("a schema knows keys, limits, words and shorthands") {
  const Json task = Schema("task");
  CHECK(task["properties"]["type"]["const"] == "task");
  CHECK(task["additionalProperties"] == false);
  CHECK(task["properties"].contains("commands"));
  CHECK_FALSE(task["properties"].contains("port"));
  const Json& priority = task["properties"]["priority"]["anyOf"][0];
  CHECK(priority["minimum"] == 0);
  CHECK(priority["maximum"] == 100);
  const Json& gpu = task["$defs"]["Resources"]["properties"]["gpu"];
  CHECK(gpu.dump().find("A100:80GB:2") != std::string::npos);
  CHECK(gpu["description"].get<std::string>().find("Accelerators") == 0);
  CHECK(Schema("service")["required"] == Json::array({"type", "port"}));
  CHECK(Schema("volume")["anyOf"].size() == 4);
}

// Editors of this repository use the committed files, by the line `# yaml-language-server`.
TEST_CASE("the committed schemas are those of the documents") {
  for (const auto& [file, type] : std::vector<std::pair<std::string, std::string>>{
           {"configuration.json", ""}, {"profiles.json", "profiles"}}) {
    INFO(file);
    const std::string path = testing::SourceDir() + "/gen/schema/" + file;
    const std::string text = Schema(type).dump(2) + "\n";
    if (std::getenv("DSTACK_UPDATE_FIXTURES") != nullptr) std::ofstream(path) << text;
    std::ifstream committed(path);
    CHECK(std::string(std::istreambuf_iterator<char>(committed), {}) == text);
  }
}

TEST_CASE("the schema of an unknown type is refused") {
  CHECK(JsonSchema("tasks").status().code() == absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace dstack::config
