#include "libs/config/canonical_json.h"

#include <google/protobuf/duration.pb.h>

#include "dstack/config/v1/fleet.pb.h"
#include "dstack/config/v1/profile.pb.h"
#include "dstack/config/v1/resources.pb.h"
#include "dstack/config/v1/run.pb.h"

#include "libs/config/yaml_fields.h"

namespace dstack::config {

namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using nlohmann::json;

double Gb(uint64_t bytes) { return static_cast<double>(bytes) / 1073741824.0; }

json OrNull(bool is_set, json value) { return is_set ? std::move(value) : json(nullptr); }

json MemoryJson(const v1::MemoryRange& range) {
  return {{"min", OrNull(range.has_min_bytes(), Gb(range.min_bytes()))},
          {"max", OrNull(range.has_max_bytes(), Gb(range.max_bytes()))}};
}

json OffableJson(const v1::OffableDuration& duration, bool off_is_negative) {
  if (!duration.off()) return duration.duration().seconds();
  return off_is_negative ? json(-1) : json("off");
}

json RetryJson(const v1::RetryPolicy& retry) {
  if (retry.on_events().empty() && !retry.has_duration()) return retry.enabled();
  json events = json::array();
  for (const int event : retry.on_events()) {
    events.push_back(EnumWord(static_cast<v1::RetryEvent>(event)));
  }
  return {{"on_events", events}, {"duration", retry.duration().seconds()}};
}

json FleetNodesJson(const v1::FleetNodes& nodes) {
  json result = {{"min", nodes.min()}, {"max", OrNull(nodes.has_max(), nodes.max())}};
  if (nodes.has_target() && nodes.target() != nodes.min()) result["target"] = nodes.target();
  return result;
}

json EnvJson(const Message& message, const FieldDescriptor& field) {
  json result = json::object();
  const Reflection& reflection = *message.GetReflection();
  for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
    const auto& variable =
        static_cast<const v1::EnvVar&>(reflection.GetRepeatedMessage(message, &field, i));
    result[variable.name()] =
        variable.has_value() ? json(variable.value()) : json{{"key", variable.name()}};
  }
  return result;
}

// Types with a form of their own.
bool SpecialJson(const Message& message, const v1::YamlField& rules, json* result) {
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
    *result = blocks->auto_() ? json("auto") : json(blocks->count());
  } else if (const auto* capability = dynamic_cast<const v1::ComputeCapability*>(&message)) {
    *result = {capability->major(), capability->minor()};
  } else if (const auto* gateway = dynamic_cast<const v1::GatewayChoice*>(&message)) {
    *result =
        gateway->has_reference() ? CanonicalJson(gateway->reference()) : json(gateway->enabled());
  } else {
    return false;
  }
  return true;
}

json ScalarJson(const Message& message, const FieldDescriptor& field) {
  const Reflection& reflection = *message.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      return reflection.GetString(message, &field);
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
      return OrNull(!word.empty(), word);
    }
    default:
      return nullptr;
  }
}

json ListJson(const Message& message, const FieldDescriptor& field) {
  const Reflection& reflection = *message.GetReflection();
  const int size = reflection.FieldSize(message, &field);
  if (size == 0 && RulesOf(field).nullable()) return nullptr;
  json list = json::array();
  for (int i = 0; i < size; ++i) {
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      list.push_back(CanonicalJson(reflection.GetRepeatedMessage(message, &field, i)));
    } else {
      list.push_back(reflection.GetRepeatedString(message, &field, i));
    }
  }
  // One volume name is written as it was given.
  const bool is_single = field.full_name() == "dstack.config.v1.NetworkMount.names" && size == 1;
  return is_single ? list[0] : list;
}

json FieldJson(const Message& message, const FieldDescriptor& field) {
  const Reflection& reflection = *message.GetReflection();
  if (RulesOf(field).form() == v1::YAML_FORM_ENV) return EnvJson(message, field);
  if (field.is_map()) return json::object();
  if (field.is_repeated()) return ListJson(message, field);
  if (field.has_presence() && !reflection.HasField(message, &field)) return nullptr;
  if (field.cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) return ScalarJson(message, field);
  const Message& value = reflection.GetMessage(message, &field);
  json special;
  return SpecialJson(value, RulesOf(field), &special) ? special : CanonicalJson(value);
}

const FieldDescriptor* GivenAlternative(const Message& message) {
  const auto& type = *message.GetDescriptor();
  for (int i = 0; i < type.real_oneof_decl_count(); ++i) {
    const auto* field =
        message.GetReflection()->GetOneofFieldDescriptor(message, type.oneof_decl(i));
    if (field != nullptr && RulesOf(*field).inline_()) return field;
  }
  return nullptr;
}

}  // namespace

json CanonicalJson(const Message& message) {
  json result = json::object();
  for (const YamlKey& key : KeysOf(*message.GetDescriptor(), GivenAlternative(message))) {
    const Message* holder = &message;
    for (size_t i = 0; i + 1 < key.chain.size(); ++i) {
      holder = &holder->GetReflection()->GetMessage(*holder, key.chain[i]);
    }
    result[key.name] = FieldJson(*holder, key.field());
  }
  return result;
}

std::string Difference(const json& expected, const json& actual, const std::string& path) {
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

}  // namespace dstack::config
