#include "clients/cli/render/json.h"

#include <map>
#include <utility>

#include <absl/strings/ascii.h>
#include <absl/strings/escaping.h>
#include <google/protobuf/util/json_util.h>
#include <nlohmann/json.hpp>

#include "clients/cli/render/enum_word.h"

namespace dstack::cli {
namespace {

using Json = nlohmann::ordered_json;
using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

Json MessageToJson(const Message& message);

// "RUN_STATUS_DONE" of RunStatus is "done".
std::string EnumText(const EnumValueDescriptor& value) {
  std::string prefix;
  for (const char c : value.type()->name()) {
    if (absl::ascii_isupper(static_cast<unsigned char>(c)) && !prefix.empty()) prefix += '_';
    prefix += absl::ascii_toupper(static_cast<unsigned char>(c));
  }
  prefix += '_';
  if (value.name().rfind(prefix, 0) != 0) return EnumWord(value.name(), "");
  return EnumWord(value.name(), prefix);
}

Json BytesOrText(const FieldDescriptor& field, const std::string& value) {
  return field.type() == FieldDescriptor::TYPE_BYTES ? Json(absl::Base64Escape(value))
                                                     : Json(value);
}

// A value of a singular field (index < 0) or an element of a repeated one.
Json ValueToJson(const Message& message, const FieldDescriptor& field, int index) {
  const Reflection& reflection = *message.GetReflection();
#define DSTACK_VALUE(Type)                                 \
  (index < 0 ? Json(reflection.Get##Type(message, &field)) \
             : Json(reflection.GetRepeated##Type(message, &field, index)))
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return DSTACK_VALUE(Int32);
    case FieldDescriptor::CPPTYPE_INT64:
      return DSTACK_VALUE(Int64);
    case FieldDescriptor::CPPTYPE_UINT32:
      return DSTACK_VALUE(UInt32);
    case FieldDescriptor::CPPTYPE_UINT64:
      return DSTACK_VALUE(UInt64);
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return DSTACK_VALUE(Double);
    case FieldDescriptor::CPPTYPE_FLOAT:
      return DSTACK_VALUE(Float);
    case FieldDescriptor::CPPTYPE_BOOL:
      return DSTACK_VALUE(Bool);
    case FieldDescriptor::CPPTYPE_ENUM:
      return EnumText(index < 0 ? *reflection.GetEnum(message, &field)
                                : *reflection.GetRepeatedEnum(message, &field, index));
    case FieldDescriptor::CPPTYPE_STRING:
      return BytesOrText(field,
                         index < 0 ? reflection.GetString(message, &field)
                                   : reflection.GetRepeatedString(message, &field, index));
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return MessageToJson(index < 0 ? reflection.GetMessage(message, &field)
                                     : reflection.GetRepeatedMessage(message, &field, index));
  }
#undef DSTACK_VALUE
  return nullptr;
}

Json MapToJson(const Message& message, const FieldDescriptor& field) {
  const Reflection& reflection = *message.GetReflection();
  // Through std::map: protobuf gives the entries in a random order.
  std::map<std::string, Json> sorted;
  for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
    const Message& entry = reflection.GetRepeatedMessage(message, &field, i);
    const Json key = ValueToJson(entry, *field.message_type()->map_key(), -1);
    sorted[key.is_string() ? key.get<std::string>() : key.dump()] =
        ValueToJson(entry, *field.message_type()->map_value(), -1);
  }
  Json object = Json::object();
  for (auto& [key, value] : sorted) object[key] = std::move(value);
  return object;
}

Json ListToJson(const Message& message, const FieldDescriptor& field) {
  Json list = Json::array();
  const int size = message.GetReflection()->FieldSize(message, &field);
  for (int i = 0; i < size; ++i) list.push_back(ValueToJson(message, field, i));
  return list;
}

// Types of google.protobuf have their own JSON forms, which the library knows.
Json WellKnownToJson(const Message& message) {
  std::string text;
  if (!google::protobuf::util::MessageToJsonString(message, &text).ok()) return nullptr;
  return Json::parse(text, nullptr, /*allow_exceptions=*/false);
}

Json MessageToJson(const Message& message) {
  if (message.GetDescriptor()->file()->package() == "google.protobuf") {
    return WellKnownToJson(message);
  }
  Json object = Json::object();
  const auto& descriptor = *message.GetDescriptor();
  for (int i = 0; i < descriptor.field_count(); ++i) {
    const FieldDescriptor& field = *descriptor.field(i);
    if (field.has_presence() && !message.GetReflection()->HasField(message, &field)) continue;
    if (field.is_map()) {
      object[field.name()] = MapToJson(message, field);
    } else if (field.is_repeated()) {
      object[field.name()] = ListToJson(message, field);
    } else {
      object[field.name()] = ValueToJson(message, field, -1);
    }
  }
  return object;
}

std::string Print(const Json& json) {
  return json.dump(2, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace) + "\n";
}

}  // namespace

std::string ToJson(const Message& message) { return Print(MessageToJson(message)); }

std::string ToJsonList(const std::string& project,
                       const std::string& list_name,
                       const std::vector<const Message*>& items) {
  Json list = Json::array();
  for (const Message* item : items) list.push_back(MessageToJson(*item));
  return Print(Json{{"project", project}, {list_name, std::move(list)}});
}

}  // namespace dstack::cli
