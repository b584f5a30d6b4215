#include "libs/config/schema.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>

#include <fmt/format.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <nlohmann/json.hpp>

#include "libs/base/status.h"
#include "libs/config/document.h"
#include "libs/config/schema_shorthands.h"
#include "libs/config/text.h"
#include "libs/config/yaml_fields.h"

// The descriptors of dstack.config.v1 with their comments, which the generated code leaves out.
extern "C" {
// NOLINTBEGIN(readability-identifier-naming): the linker's
extern const unsigned char dstack_config_descriptors[];
extern const unsigned long dstack_config_descriptors_size;
// NOLINTEND(readability-identifier-naming)
}

namespace dstack::config {

namespace {

using google::protobuf::Descriptor;
using google::protobuf::DescriptorPool;
using google::protobuf::FieldDescriptor;
using Json = nlohmann::ordered_json;

constexpr const char* kDialect = "https://json-schema.org/draft/2020-12/schema";

// The text of a comment on one line.
std::string OneLine(const std::string& comment) {
  std::string text;
  for (const char c : comment) {
    const bool is_blank = c == '\n' || c == ' ';
    if (!is_blank) text += c;
    if (is_blank && !text.empty() && text.back() != ' ') text += ' ';
  }
  return std::string(TrimBlanks(text));
}

class Comments {
 public:
  Comments() {
    google::protobuf::FileDescriptorSet set;
    set.ParseFromArray(dstack_config_descriptors, static_cast<int>(dstack_config_descriptors_size));
    for (const auto& file : set.file()) pool_.BuildFile(file);
  }

  std::string Of(const FieldDescriptor& field) const {
    const Descriptor* type = pool_.FindMessageTypeByName(field.containing_type()->full_name());
    return type == nullptr ? "" : Leading(type->FindFieldByName(field.name()));
  }

  std::string Of(const Descriptor& type) const {
    return Leading(pool_.FindMessageTypeByName(type.full_name()));
  }

 private:
  template <typename Symbol>
  static std::string Leading(const Symbol* symbol) {
    google::protobuf::SourceLocation location;
    if (symbol == nullptr || !symbol->GetSourceLocation(&location)) return "";
    return OneLine(location.leading_comments);
  }

  DescriptorPool pool_;
};

Json AnyOf(std::vector<Json> alternatives) {
  if (alternatives.size() == 1) return std::move(alternatives.front());
  return Json{{"anyOf", std::move(alternatives)}};
}

class Builder {
 public:
  // A whole document of this message type.
  Json Document(const Descriptor& type, const FieldDescriptor* kind, const Json& selectors) {
    Json schema = Object(type, kind);
    Json properties = selectors;
    properties.update(schema["properties"]);
    schema["properties"] = std::move(properties);
    Json required = Json::array();
    for (const auto& [key, value] : selectors.items()) required.push_back(key);
    for (const Json& key : schema.value("required", Json::array())) required.push_back(key);
    if (!required.empty()) schema["required"] = std::move(required);
    return schema;
  }

  Json TakeDefinitions() { return std::move(definitions_); }

 private:
  Json Object(const Descriptor& type, const FieldDescriptor* kind = nullptr) {
    Json schema = {{"type", "object"},
                   {"description", comments_.Of(type)},
                   {"properties", Json::object()},
                   {"additionalProperties", false}};
    std::vector<std::string> required;
    for (const YamlKey& key : KeysOf(type, kind)) {
      Json field = Field(key.field());
      field["description"] = comments_.Of(key.field());
      if (!key.alias.empty()) schema["properties"][key.alias] = field;
      const bool is_required = RulesOf(key.field()).required();
      if (is_required && key.alias.empty()) required.push_back(key.name);
      schema["properties"][key.name] = std::move(field);
    }
    if (!required.empty()) schema["required"] = required;
    return schema;
  }

  Json Field(const FieldDescriptor& field) {
    std::vector<Json> alternatives = {FieldForm(field)};
    const bool null_is_value = RulesOf(field).form() == v1::YAML_FORM_NULL_IS_EMPTY;
    if (IsNullable(field) || null_is_value) alternatives.push_back({{"type", "null"}});
    return AnyOf(std::move(alternatives));
  }

  Json FieldForm(const FieldDescriptor& field) {
    const v1::YamlField& rules = RulesOf(field);
    if (rules.form() == v1::YAML_FORM_REPLICAS) return Replicas(field);
    if (rules.form() == v1::YAML_FORM_SERVICE_PORT) {
      return AnyOf({schema::ServicePort(), Reference(*field.message_type())});
    }
    if (std::optional<Json> form = schema::FormOf(field)) return *std::move(form);
    if (field.is_map()) {
      return {{"type", "object"}, {"additionalProperties", {{"type", {"string", "number"}}}}};
    }
    if (!field.is_repeated()) return Value(field);
    Json list = {{"type", "array"}, {"items", Value(field)}};
    if (rules.non_empty() || rules.required()) list["minItems"] = 1;
    if (rules.has_max_items()) list["maxItems"] = rules.max_items();
    // The only required list that may be empty: it is required to be there.
    if (field.full_name() == "dstack.config.v1.ProfilesFile.profiles") list.erase("minItems");
    return list;
  }

  Json Replicas(const FieldDescriptor& field) {
    std::vector<Json> ways = {Message(*field.message_type())};
    const FieldDescriptor* groups = field.containing_type()->FindFieldByName("groups");
    if (groups != nullptr) {
      ways.push_back({{"type", "array"}, {"items", Value(*groups)}, {"minItems", 1}});
    }
    return AnyOf(std::move(ways));
  }

  Json Value(const FieldDescriptor& field) {
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) return Message(*field.message_type());
    return schema::Scalar(field);
  }

  // A message with its shorthands.
  Json Message(const Descriptor& type) {
    if (std::optional<Json> whole = schema::WholeForm(type)) return *std::move(whole);
    std::vector<Json> ways = schema::ShorthandsOf(type);
    ways.push_back(Reference(type));
    return AnyOf(std::move(ways));
  }

  Json Reference(const Descriptor& type) {
    const std::string& name = type.name();
    if (!definitions_.contains(name)) {
      definitions_[name] = nullptr;  // ends recursion
      definitions_[name] = Definition(type);
    }
    return {{"$ref", "#/$defs/" + name}};
  }

  // The mapping form of a message.
  Json Definition(const Descriptor& type) {
    if (type.name() == "VolumeMount" || type.name() == "InstanceSelector") {
      return Alternatives(type, "");
    }
    if (type.name() == "BackendConfig") return Alternatives(type, "type");
    if (type.name() == "GatewayChoice") {
      return Reference(*type.FindFieldByName("reference")->message_type());
    }
    if (type.name() == "CpuSpec") {
      return AnyOf({Object(type), Reference(*type.FindFieldByName("count")->message_type())});
    }
    return Object(type);
  }

  // One mapping for each alternative whose keys lie at the level of the message; `selector` names
  // the key that chooses.
  Json Alternatives(const Descriptor& type, const std::string& selector) {
    std::vector<Json> ways;
    for (int i = 0; i < type.field_count(); ++i) {
      const FieldDescriptor& field = *type.field(i);
      if (RulesOf(field).inline_()) {
        Json way = Object(type, &field);
        if (!selector.empty()) Select(selector, field.name(), &way);
        ways.push_back(std::move(way));
      } else if (field.real_containing_oneof() != nullptr) {
        Json value = Field(field);
        value["description"] = comments_.Of(field);
        ways.push_back({{"type", "object"},
                        {"properties", {{KeyName(field), value}}},
                        {"required", {KeyName(field)}},
                        {"additionalProperties", false}});
      }
    }
    return AnyOf(std::move(ways));
  }

  static void Select(const std::string& selector, const std::string& word, Json* schema) {
    Json properties = {{selector, {{"const", word}}}};
    properties.update((*schema)["properties"]);
    (*schema)["properties"] = std::move(properties);
    Json required = {selector};
    for (const Json& key : schema->value("required", Json::array())) required.push_back(key);
    (*schema)["required"] = std::move(required);
  }

  Comments comments_;
  Json definitions_ = Json::object();
};

const Descriptor* MessageOfType(const std::string& type) {
  if (type == "fleet") return v1::FleetConfiguration::descriptor();
  if (type == "gateway") return v1::GatewayConfiguration::descriptor();
  if (type == "volume") return v1::VolumeConfiguration::descriptor();
  if (type == "preset") return v1::PresetConfiguration::descriptor();
  if (type == "template") return v1::TemplateConfiguration::descriptor();
  if (type == "profiles") return v1::ProfilesFile::descriptor();
  if (type == "client-config") return v1::ClientConfig::descriptor();
  if (type == "server-config") return v1::ServerConfig::descriptor();
  return v1::RunConfiguration::descriptor();
}

bool IsConfiguration(const std::string& type) {
  return type != "profiles" && !type.ends_with("-config");
}

Json VolumeSchema(const Json& selectors, Builder* builder) {
  std::vector<Json> ways;
  const Descriptor& type = *v1::VolumeConfiguration::descriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    if (!RulesOf(*type.field(i)).inline_()) continue;
    Json with_backend = selectors;
    with_backend["backend"] = {{"const", type.field(i)->name()}};
    ways.push_back(builder->Document(type, type.field(i), with_backend));
  }
  return AnyOf(std::move(ways));
}

// Keys that are short for something below `model`.
void AddPresetKeys(Json* schema) {
  for (const char* key : {"base", "repo"}) {
    (*schema)["properties"][key] = {
        {"type", {"string", "null"}},
        {"description", fmt::format("Short for `model: {{{}}}`.", key)}};
  }
}

Json TypeSchema(const std::string& type, Builder* builder) {
  Json selectors = Json::object();
  if (IsConfiguration(type)) selectors["type"] = {{"const", type}};
  const Descriptor& message = *MessageOfType(type);
  if (type == "volume") return VolumeSchema(selectors, builder);
  const FieldDescriptor* kind = nullptr;
  if (&message == v1::RunConfiguration::descriptor()) {
    kind = message.FindFieldByName(type == "dev-environment" ? "dev_environment" : type);
  }
  Json schema = builder->Document(message, kind, selectors);
  if (type == "preset") AddPresetKeys(&schema);
  if (type == "client-config") schema["properties"]["repos"] = {{"description", "Ignored."}};
  return schema;
}

}  // namespace

std::vector<std::string> SchemaTypes() {
  return {"task",
          "dev-environment",
          "service",
          "fleet",
          "gateway",
          "volume",
          "preset",
          "template",
          "profiles",
          "client-config",
          "server-config"};
}

absl::StatusOr<Json> JsonSchema(const std::string& type) {
  const std::vector<std::string> types = SchemaTypes();
  const bool is_known = std::find(types.begin(), types.end(), type) != types.end();
  if (!type.empty() && !is_known) {
    return base::InvalidField("type", "must be " + AlternativesText(types));
  }
  Builder builder;
  Json schema = {{"$schema", kDialect},
                 {"title", type.empty() ? "dstack configuration" : "dstack " + type}};
  if (type.empty()) {
    Json ways = Json::array();
    for (const std::string& each : types) {
      if (IsConfiguration(each)) ways.push_back(TypeSchema(each, &builder));
    }
    schema["anyOf"] = std::move(ways);
  } else {
    schema.update(TypeSchema(type, &builder));
  }
  schema["$defs"] = builder.TakeDefinitions();
  return schema;
}

}  // namespace dstack::config
