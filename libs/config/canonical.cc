#include "libs/config/canonical.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

#include <google/protobuf/duration.pb.h>
#include <google/protobuf/struct.pb.h>
#include <nlohmann/json.hpp>
#include <yaml-cpp/emitter.h>
#include <yaml-cpp/emittermanip.h>

#include "libs/config/node.h"
#include "libs/config/secret_text.h"
#include "libs/config/text.h"
#include "libs/config/yaml_fields.h"

namespace dstack::config {

namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using Json = nlohmann::ordered_json;

constexpr const char* kHidden = "***";

double Gb(uint64_t bytes) { return static_cast<double>(bytes) / 1073741824.0; }

Json OrNull(bool is_set, Json value) { return is_set ? std::move(value) : Json(nullptr); }

Json MemoryJson(const v1::MemoryRange& range) {
  return {{"min", OrNull(range.has_min_bytes(), Gb(range.min_bytes()))},
          {"max", OrNull(range.has_max_bytes(), Gb(range.max_bytes()))}};
}

Json OffableJson(const v1::OffableDuration& duration, bool off_is_negative) {
  if (!duration.off()) return duration.duration().seconds();
  return off_is_negative ? Json(-1) : Json("off");
}

Json RetryJson(const v1::RetryPolicy& retry) {
  if (retry.on_events().empty() && !retry.has_duration()) return retry.enabled();
  Json events = Json::array();
  for (const int event : retry.on_events()) {
    events.push_back(EnumWord(static_cast<v1::RetryEvent>(event)));
  }
  return {{"on_events", OrNull(!events.empty(), events)},
          {"duration", OrNull(retry.has_duration(), retry.duration().seconds())}};
}

Json FleetNodesJson(const v1::FleetNodes& nodes) {
  Json result = {{"min", nodes.min()}, {"max", OrNull(nodes.has_max(), nodes.max())}};
  if (nodes.has_target() && nodes.target() != nodes.min()) result["target"] = nodes.target();
  return result;
}

// A secret in a place that is not made for one shows by its looks.
Json TextJson(const std::string& text, bool is_hiding) {
  return is_hiding && LooksSecret(text) ? kHidden : text;
}

// Adds a key that is not there yet; `[]` would look through all that are.
void AddKey(std::string key, Json value, Json* object) {
  object->get_ref<Json::object_t&>().emplace_back(std::move(key), std::move(value));
}

Json EnvJson(const Message& message, const FieldDescriptor& field, bool is_hidden) {
  Json result = Json::object();
  const Reflection& reflection = *message.GetReflection();
  for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
    const auto& variable =
        static_cast<const v1::EnvVar&>(reflection.GetRepeatedMessage(message, &field, i));
    Json value = Json{{"key", variable.name()}};
    if (variable.has_value()) value = is_hidden ? std::string(kHidden) : variable.value();
    AddKey(variable.name(), std::move(value), &result);
  }
  return result;
}

Json FreeJson(const google::protobuf::Value& value, bool is_hiding);

// In the order of the keys: a map has none of its own.
Json FreeJson(const google::protobuf::Struct& fields, bool is_hiding) {
  const std::map<std::string, google::protobuf::Value> sorted(fields.fields().begin(),
                                                              fields.fields().end());
  Json result = Json::object();
  for (const auto& [key, value] : sorted)
    AddKey(key, is_hiding && NamesSecret(key) ? kHidden : FreeJson(value, is_hiding), &result);
  return result;
}

Json FreeJson(const google::protobuf::Value& value, bool is_hiding) {
  if (value.has_string_value()) return TextJson(value.string_value(), is_hiding);
  if (value.has_bool_value()) return value.bool_value();
  if (value.has_struct_value()) return FreeJson(value.struct_value(), is_hiding);
  if (value.has_number_value()) {
    const double number = value.number_value();
    const bool is_whole = std::trunc(number) == number && std::abs(number) < 1e15;
    return is_whole ? Json(static_cast<int64_t>(number)) : Json(number);
  }
  if (!value.has_list_value()) return nullptr;
  Json list = Json::array();
  for (const auto& item : value.list_value().values()) list.push_back(FreeJson(item, is_hiding));
  return list;
}

class Writer {
 public:
  explicit Writer(const CanonicalOptions& options) : options_(options) {}

  Json Mapping(const Message& message) const {
    Json result = Json::object();
    for (const YamlKey& key : KeysOf(*message.GetDescriptor(), GivenAlternative(message))) {
      const Message* holder = &message;
      for (size_t i = 0; i + 1 < key.chain.size(); ++i) {
        holder = &holder->GetReflection()->GetMessage(*holder, key.chain[i]);
      }
      std::optional<Json> value = Field(*holder, key.field());
      if (value) result[key.name] = *std::move(value);
    }
    return result;
  }

 private:
  // Pairs of a name and a value: the name tells.
  static bool NamesOwnSecret(const Message& message, const FieldDescriptor& field) {
    if (field.name() != "value") return false;
    const auto* header = dynamic_cast<const v1::HttpHeader*>(&message);
    const auto* parameter = dynamic_cast<const v1::TemplateParameter*>(&message);
    return parameter != nullptr || (header != nullptr && NamesSecret(header->name()));
  }

  // The member of a oneof whose own keys lie at the level of the message.
  static const FieldDescriptor* GivenAlternative(const Message& message) {
    const auto& type = *message.GetDescriptor();
    for (int i = 0; i < type.real_oneof_decl_count(); ++i) {
      const auto* field =
          message.GetReflection()->GetOneofFieldDescriptor(message, type.oneof_decl(i));
      if (field != nullptr && RulesOf(*field).inline_()) return field;
    }
    return nullptr;
  }

  // nullopt: the key is left out, since an explicit null would not be read back as "unset".
  std::optional<Json> Field(const Message& message, const FieldDescriptor& field) const {
    const v1::YamlField& rules = RulesOf(field);
    const Reflection& reflection = *message.GetReflection();
    const bool is_hidden = options_.hide_secrets && rules.secret();
    if (rules.form() == v1::YAML_FORM_ENV) return EnvJson(message, field, is_hidden);
    if (field.is_map()) return Map(message, field);
    if (field.is_repeated()) return List(message, field);
    if (field.has_presence() && !reflection.HasField(message, &field)) {
      const bool is_alternative = field.real_containing_oneof() != nullptr;
      const bool null_is_value = rules.form() == v1::YAML_FORM_NULL_IS_EMPTY;
      if (is_alternative || null_is_value || !IsNullable(field)) return std::nullopt;
      return nullptr;
    }
    if (is_hidden || (options_.hide_secrets && NamesOwnSecret(message, field))) return kHidden;
    if (field.cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) return Scalar(message, field);
    return Value(reflection.GetMessage(message, &field), rules);
  }

  Json Value(const Message& message, const v1::YamlField& rules) const {
    Json result;
    if (OwnForm(message, rules, &result)) return result;
    const bool is_empty = message.ByteSizeLong() == 0;
    if (rules.form() == v1::YAML_FORM_NULL_IS_EMPTY && is_empty) return nullptr;
    return Mapping(message);
  }

  // Types with a form of their own.
  bool OwnForm(const Message& message, const v1::YamlField& rules, Json* result) const {
    if (const auto* range = dynamic_cast<const v1::MemoryRange*>(&message)) {
      *result = MemoryJson(*range);
    } else if (const auto* duration = dynamic_cast<const google::protobuf::Duration*>(&message)) {
      *result = duration->seconds();
    } else if (const auto* offable = dynamic_cast<const v1::OffableDuration*>(&message)) {
      *result = OffableJson(*offable, rules.form() == v1::YAML_FORM_NEGATIVE_IS_OFF);
    } else if (const auto* retry = dynamic_cast<const v1::RetryPolicy*>(&message)) {
      *result = RetryJson(*retry);
    } else if (const auto* nodes = dynamic_cast<const v1::FleetNodes*>(&message)) {
      *result = FleetNodesJson(*nodes);
    } else if (const auto* blocks = dynamic_cast<const v1::Blocks*>(&message)) {
      *result = blocks->auto_() ? Json("auto") : Json(blocks->count());
    } else if (const auto* capability = dynamic_cast<const v1::ComputeCapability*>(&message)) {
      *result = Json::array({capability->major(), capability->minor()});
    } else if (const auto* gateway = dynamic_cast<const v1::GatewayChoice*>(&message)) {
      *result = gateway->has_reference() ? Mapping(gateway->reference()) : Json(gateway->enabled());
    } else if (const auto* prompt = dynamic_cast<const v1::PresetPrompt*>(&message)) {
      *result = prompt->has_text() ? Json(prompt->text()) : Json{{"path", prompt->path()}};
    } else if (const auto* fields = dynamic_cast<const google::protobuf::Struct*>(&message)) {
      *result = FreeJson(*fields, options_.hide_secrets);
    } else if (const auto* backend = dynamic_cast<const v1::BackendConfig*>(&message)) {
      const FieldDescriptor* kind = GivenAlternative(message);
      *result = Json{{"type", kind == nullptr ? "" : kind->name()}};
      result->update(Mapping(*backend));
    } else {
      return false;
    }
    return true;
  }

  Json Scalar(const Message& message, const FieldDescriptor& field) const {
    const Reflection& reflection = *message.GetReflection();
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_STRING:
        return TextJson(reflection.GetString(message, &field), options_.hide_secrets);
      case FieldDescriptor::CPPTYPE_BOOL:
        return reflection.GetBool(message, &field);
      case FieldDescriptor::CPPTYPE_INT32:
        return reflection.GetInt32(message, &field);
      case FieldDescriptor::CPPTYPE_INT64:
        return reflection.GetInt64(message, &field);
      case FieldDescriptor::CPPTYPE_UINT64:
        return Gb(reflection.GetUInt64(message, &field));
      case FieldDescriptor::CPPTYPE_DOUBLE:
        return reflection.GetDouble(message, &field);
      case FieldDescriptor::CPPTYPE_ENUM: {
        const std::string word = EnumWord(*reflection.GetEnum(message, &field));
        const bool is_switch = RulesOf(field).form() == v1::YAML_FORM_HTTPS && word != "auto";
        if (is_switch && !word.empty()) return word == "on";
        return OrNull(!word.empty(), word);
      }
      default:
        return nullptr;
    }
  }

  Json List(const Message& message, const FieldDescriptor& field) const {
    const Reflection& reflection = *message.GetReflection();
    const int size = reflection.FieldSize(message, &field);
    if (size == 0)
      return OrNull(!RulesOf(field).nullable() || IsEmptied(message, field), Json::array());
    // One volume name is written as it was given; and one empty model name stands for an empty
    // list.
    const bool is_text = field.cpp_type() == FieldDescriptor::CPPTYPE_STRING;
    if (size == 1 && is_text) {
      const std::string& only = reflection.GetRepeatedString(message, &field, 0);
      if (field.full_name() == "dstack.config.v1.NetworkMount.names") return only;
      if (field.full_name() == "dstack.config.v1.GpuSpec.name" && only.empty())
        return Json::array();
    }
    Json list = Json::array();
    for (int i = 0; i < size; ++i) {
      if (is_text) {
        list.push_back(
            TextJson(reflection.GetRepeatedString(message, &field, i), options_.hide_secrets));
      } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_ENUM) {
        list.push_back(EnumWord(*reflection.GetRepeatedEnum(message, &field, i)));
      } else {
        list.push_back(Value(reflection.GetRepeatedMessage(message, &field, i), RulesOf(field)));
      }
    }
    return list;
  }

  // All maps of the documents hold text.
  static Json Map(const Message& message, const FieldDescriptor& field) {
    const Reflection& reflection = *message.GetReflection();
    const int size = reflection.FieldSize(message, &field);
    if (size == 0)
      return OrNull(!RulesOf(field).nullable() || IsEmptied(message, field), Json::object());
    std::map<std::string, std::string> sorted;
    for (int i = 0; i < size; ++i) {
      const Message& pair = reflection.GetRepeatedMessage(message, &field, i);
      const auto* type = pair.GetDescriptor();
      sorted[pair.GetReflection()->GetString(pair, type->map_key())] =
          pair.GetReflection()->GetString(pair, type->map_value());
    }
    Json result = Json::object();
    for (const auto& [key, value] : sorted) AddKey(key, value, &result);
    return result;
  }

  // The document gives an empty list, which differs from none.
  static bool IsEmptied(const Message& message, const FieldDescriptor& field) {
    const auto& type = *message.GetDescriptor();
    const Reflection& reflection = *message.GetReflection();
    const auto* disabled = type.FindFieldByName(field.name() + "_disabled");
    if (disabled != nullptr) return reflection.GetBool(message, disabled);
    const auto* cleared = type.FindFieldByName("cleared_fields");
    if (cleared == nullptr) return false;
    for (int i = 0; i < reflection.FieldSize(message, cleared); ++i) {
      if (reflection.GetRepeatedString(message, cleared, i) == field.name()) return true;
    }
    return false;
  }

  CanonicalOptions options_;
};

// Whether a text can stand without quotes and stays that text, also for readers of YAML 1.1.
bool IsPlain(const std::string& text) {
  if (text.empty() || text.back() == ' ' || text.back() == ':') return false;
  const char first = text.front();
  if (!IsAsciiAlnum(first) && first != '/' && first != '.' && first != '_' && first != '~') {
    return false;
  }
  for (size_t i = 0; i < text.size(); ++i) {
    const char next = i + 1 < text.size() ? text[i + 1] : 'x';
    if (text[i] < ' ' || text[i] > '~') return false;
    if ((text[i] == ':' && next == ' ') || (text[i] == ' ' && next == '#')) return false;
  }
  return ResolvePlain(text).kind == NodeKind::kString;
}

void Emit(const Json& value, YAML::Emitter* out) {
  if (value.is_structured() && value.empty()) *out << YAML::Flow;
  switch (value.type()) {
    case Json::value_t::object:
      *out << YAML::BeginMap;
      for (const auto& [key, item] : value.items()) {
        *out << YAML::Key;
        Emit(key, out);
        *out << YAML::Value;
        Emit(item, out);
      }
      *out << YAML::EndMap;
      return;
    case Json::value_t::array:
      *out << YAML::BeginSeq;
      for (const Json& item : value) Emit(item, out);
      *out << YAML::EndSeq;
      return;
    case Json::value_t::string: {
      const std::string& text = value.get_ref<const std::string&>();
      if (!IsPlain(text)) *out << YAML::DoubleQuoted;
      *out << text;
      return;
    }
    case Json::value_t::number_float:
      *out << FloatText(value.get<double>());
      return;
    case Json::value_t::null:
      *out << YAML::Null;
      return;
    case Json::value_t::boolean:
      *out << value.get<bool>();
      return;
    default:
      *out << value.dump();
  }
}

}  // namespace

Json CanonicalJson(const Message& message, const CanonicalOptions& options) {
  return Writer(options).Mapping(message);
}

Json CanonicalJson(const AnyDocument& document, const CanonicalOptions& options) {
  Json result = Json::object();
  if (const auto* configuration = std::get_if<Configuration>(&document.content)) {
    result["type"] = TypeOf(*configuration);
    if (const auto* volume = std::get_if<v1::VolumeConfiguration>(configuration)) {
      const auto* kind = volume->GetReflection()->GetOneofFieldDescriptor(
          *volume, volume->GetDescriptor()->oneof_decl(0));
      if (kind != nullptr) result["backend"] = kind->name();
    }
  }
  result.update(CanonicalJson(MessageOf(document), options));
  return result;
}

std::string PrintYaml(const Json& value) {
  YAML::Emitter out;
  out.SetNullFormat(YAML::LowerNull);
  Emit(value, &out);
  return std::string(out.c_str()) + "\n";
}

}  // namespace dstack::config
