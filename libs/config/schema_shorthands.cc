#include "libs/config/schema_shorthands.h"

#include <array>
#include <string>
#include <string_view>
#include <utility>

#include <nlohmann/json.hpp>

#include "dstack/config/v1/resources.pb.h"

#include "libs/config/text.h"
#include "libs/config/yaml_fields.h"

namespace dstack::config::schema {

namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using Json = nlohmann::ordered_json;

// Patterns say what a text looks like, to help while typing; the reader has the last word.
constexpr const char* kDuration = R"(^\s*[-+]?[0-9_]+\s*$|^[0-9]+ *[smhdw]$)";
constexpr const char* kMemory = R"(^[-+ .0-9eE_]*([tTgGmM][bB])?\s*$)";
constexpr const char* kMemoryRange = R"(^[-+ .0-9eE_tTgGmMbB]+$)";
constexpr const char* kIntRange = R"(^[-+ .0-9_]+$)";
constexpr const char* kPort = R"(^([0-9]+|\*):[0-9]+$|^[0-9]+$)";
constexpr const char* kServicePort = R"(^[0-9]+:[0-9]+$|^\s*[0-9]+(\.0)?\s*$)";
constexpr const char* kMount = R"(^[^:]+(\$\{\{[^}]*\}\}[^:]*)?:/.*$)";
constexpr const char* kEnv = R"(^[A-Za-z_][A-Za-z0-9_]*(=[^\n]*)?$)";

Json Text() { return {{"type", {"string", "number"}}}; }

Json Pattern(const char* pattern, std::vector<Json> examples) {
  return {{"type", "string"}, {"pattern", pattern}, {"examples", std::move(examples)}};
}

// A text with a pattern, or a number.
Json NumberOr(const char* type, const char* pattern, std::vector<Json> examples) {
  return {{"type", {"string", type}}, {"pattern", pattern}, {"examples", std::move(examples)}};
}

Json Duration() { return NumberOr("number", kDuration, {"90s", "2h", "1w"}); }

// `true` stands for "unset", `false` for "off".
Json OffableDuration() {
  Json duration = Duration();
  return {{"anyOf", {duration, {{"const", "off"}}, {{"type", "boolean"}}}}};
}

Json Memory() { return NumberOr("number", kMemory, {"512MB", "24GB"}); }

Json Boolean() {
  return {{"anyOf",
           {{{"type", "boolean"}},
            {{"enum", {"true", "false", "yes", "no", "on", "off", "y", "n", 0, 1}}}}}};
}

Json Limited(const FieldDescriptor& field, Json schema) {
  const v1::YamlField& rules = RulesOf(field);
  if (rules.has_min()) schema["minimum"] = rules.min();
  if (rules.has_max()) schema["maximum"] = rules.max();
  if (rules.has_above()) schema["exclusiveMinimum"] = rules.above();
  return schema;
}

std::string Upper(std::string text) {
  for (char& c : text) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  return text;
}

Json Enum(const EnumDescriptor& type) {
  std::vector<std::string> words = EnumWords(type);
  const bool is_vendor = &type == v1::GpuVendor_descriptor();
  if (is_vendor) words.insert(words.end(), {"tpu", "tt"});
  // Case does not matter for these two.
  if (is_vendor || &type == v1::CpuArch_descriptor()) {
    for (size_t i = words.size(); i > 0; --i) words.push_back(Upper(words[i - 1]));
  }
  return {{"enum", words}};
}

Json Env() {
  const Json item = {{"type", {"string", "number"}}, {"pattern", kEnv}};
  const Json key = {{"type", "string"},
                    {"description", "Name of the variable, which the client takes from its own."}};
  const Json placeholder = {{"type", "object"},
                            {"properties", {{"key", key}}},
                            {"required", {"key"}},
                            {"additionalProperties", false}};
  const Json list = {{"type", "array"}, {"items", item}};
  const Json value = {{"anyOf", {Text(), placeholder}}};
  const Json mapping = {{"type", "object"}, {"additionalProperties", value}};
  return {{"anyOf", {list, mapping}}};
}

Json StringOrList(const FieldDescriptor& field) {
  Json list = {{"type", "array"}, {"items", Text()}};
  if (!IsNullable(field)) list["minItems"] = 1;
  return {{"anyOf", {Text(), list}}};
}

struct Shorthand {
  std::string_view type;
  Json (*schema)();
};

Json Port() { return NumberOr("integer", kPort, {8000, "80:8000", "*:8000"}); }
Json IntRange() { return NumberOr("integer", kIntRange, {2, "1..8", "4.."}); }
Json FleetNodes() { return NumberOr("integer", kIntRange, {2, "1..8", ".."}); }
Json MemoryRange() { return NumberOr("number", kMemoryRange, {"16GB", "16GB..", "512MB..1TB"}); }
Json Cpu() { return {{"type", {"string", "integer"}}, {"examples", {4, "8..", "arm:4.."}}}; }
Json Gpu() {
  return {{"type", {"string", "integer", "boolean"}},
          {"examples", {1, "24GB", "H100:8", "A100:80GB:2", "nvidia:24GB..:1..8"}}};
}
Json Capability() {
  const Json part = {{"type", {"integer", "string"}}};
  return {{"anyOf",
           {{{"type", {"number", "string"}}, {"examples", {"8.0", "9.0"}}},
            {{"type", "array"}, {"items", part}, {"minItems", 2}, {"maxItems", 2}}}}};
}
Json Mount() { return Pattern(kMount, {"my-volume:/data", "/host/data:/data"}); }
Json File() { return {{"type", {"string", "number"}}, {"examples", {"train.py", "./data:/data"}}}; }
Json Repo() {
  return {{"type", "string"}, {"examples", {".", "https://github.com/org/repo", ".:/repo"}}};
}
Json Reference() {
  return {{"type", {"string", "number"}}, {"examples", {"my-fleet", "project/my-fleet"}}};
}
Json Name() { return Text(); }
Json GatewayChoice() { return {{"type", {"boolean", "string", "integer"}}}; }

constexpr std::array kShorthands = {
    Shorthand{"IntRange", IntRange},
    Shorthand{"MemoryRange", MemoryRange},
    Shorthand{"CpuSpec", Cpu},
    Shorthand{"GpuSpec", Gpu},
    Shorthand{"ComputeCapability", Capability},
    Shorthand{"DiskSpec", MemoryRange},
    Shorthand{"PortMapping", Port},
    Shorthand{"VolumeMount", Mount},
    Shorthand{"FileMapping", File},
    Shorthand{"RepoSpec", Repo},
    Shorthand{"EntityReference", Reference},
    Shorthand{"InstanceSelector", Name},
    Shorthand{"RetryPolicy", Boolean},
    Shorthand{"FleetNodes", FleetNodes},
    Shorthand{"SshHost", Name},
    Shorthand{"GatewayChoice", GatewayChoice},
    Shorthand{"ServiceModel", Name},
    Shorthand{"PresetModel", Name},
    Shorthand{"PresetPrompt", Name},
};

}  // namespace

Json Scalar(const FieldDescriptor& field) {
  const v1::YamlField& rules = RulesOf(field);
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return Boolean();
    case FieldDescriptor::CPPTYPE_ENUM:
      return Enum(*field.enum_type());
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return Limited(field, {{"type", {"number", "string"}}});
    case FieldDescriptor::CPPTYPE_INT32:
    case FieldDescriptor::CPPTYPE_INT64:
      return Limited(field, {{"type", {"integer", "string"}}, {"pattern", kIntRange}});
    default:
      break;
  }
  if (rules.one_of().empty()) return Text();
  return {{"enum", std::vector<std::string>(rules.one_of().begin(), rules.one_of().end())}};
}

std::optional<Json> FormOf(const FieldDescriptor& field) {
  switch (RulesOf(field).form()) {
    case v1::YAML_FORM_MEMORY:
      return Memory();
    case v1::YAML_FORM_ENV:
      return Env();
    case v1::YAML_FORM_PYTHON: {
      const Json words = Scalar(field);
      return Json{{"anyOf", {words, {{"type", "number"}}}}};
    }
    case v1::YAML_FORM_STRING_OR_LIST:
      return StringOrList(field);
    case v1::YAML_FORM_OFF_IS_UNSET:
    case v1::YAML_FORM_NEGATIVE_IS_OFF:
      return OffableDuration();
    case v1::YAML_FORM_HTTPS: {
      const Json boolean = Boolean();
      return Json{{"anyOf", {boolean, {{"const", "auto"}}}}};
    }
    default:
      return std::nullopt;
  }
}

std::optional<Json> WholeForm(const Descriptor& type) {
  if (type.name() == "Duration") return Duration();
  if (type.name() == "OffableDuration") return OffableDuration();
  if (type.name() == "Struct") return Json{{"type", "object"}};
  if (type.name() == "Blocks") {
    const Json number = {{"type", {"integer", "string"}}, {"minimum", 1}};
    return Json{{"anyOf", {{{"const", "auto"}}, number}}};
  }
  return std::nullopt;
}

std::vector<Json> ShorthandsOf(const Descriptor& type) {
  std::vector<Json> ways;
  for (const Shorthand& shorthand : kShorthands) {
    if (shorthand.type == type.name()) ways.push_back(shorthand.schema());
  }
  return ways;
}

Json ServicePort() { return NumberOr("number", kServicePort, {8000, "80:8000"}); }

}  // namespace dstack::config::schema
