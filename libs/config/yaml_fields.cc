#include "libs/config/yaml_fields.h"

#include <algorithm>
#include <string_view>

#include "libs/config/text.h"

namespace dstack::config {

namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;

bool IsAccepted(const v1::YamlField& rules, const std::string& key) {
  if (rules.only().empty()) return true;
  return std::find(rules.only().begin(), rules.only().end(), key) != rules.only().end();
}

void AddInlined(const FieldDescriptor& field, std::vector<YamlKey>* keys) {
  for (YamlKey& key : KeysOf(*field.message_type())) {
    if (!IsAccepted(RulesOf(field), key.name)) continue;
    key.chain.insert(key.chain.begin(), &field);
    keys->push_back(std::move(key));
  }
}

}  // namespace

const v1::YamlField& RulesOf(const FieldDescriptor& field) {
  return field.options().GetExtension(v1::yaml);
}

std::string KeyName(const FieldDescriptor& field) {
  const std::string& key = RulesOf(field).key();
  return key.empty() ? field.name() : key;
}

std::vector<YamlKey> KeysOf(const Descriptor& type, const FieldDescriptor* kind) {
  std::vector<YamlKey> keys;
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    const v1::YamlField& rules = RulesOf(field);
    if (rules.hidden()) continue;
    if (!rules.inline_()) {
      keys.push_back({.name = KeyName(field), .alias = rules.alias(), .chain = {&field}});
      continue;
    }
    const bool is_alternative = field.real_containing_oneof() != nullptr;
    if (is_alternative && &field != kind) continue;
    if (field.message_type() != nullptr) AddInlined(field, &keys);
  }
  return keys;
}

bool IsNullable(const FieldDescriptor& field) {
  const v1::YamlField& rules = RulesOf(field);
  if (rules.nullable() || field.has_optional_keyword()) return true;
  // Zero is "unset" in all enums.
  return field.cpp_type() == FieldDescriptor::CPPTYPE_ENUM && !field.is_repeated() &&
         !rules.required();
}

std::string EnumWord(const EnumValueDescriptor& value) {
  if (value.number() == 0) return "";
  constexpr std::string_view kZeroName = "UNSPECIFIED";
  const std::string& zero = value.type()->FindValueByNumber(0)->name();
  std::string word = AsciiLower(value.name().substr(zero.size() - kZeroName.size()));
  // The one enum whose words have an underscore in the documents.
  const bool keeps_underscores = value.type()->name() == "RateLimitKeyType";
  if (!keeps_underscores) std::replace(word.begin(), word.end(), '_', '-');
  return word;
}

std::vector<std::string> EnumWords(const EnumDescriptor& type) {
  std::vector<std::string> words;
  for (int i = 0; i < type.value_count(); ++i) {
    if (type.value(i)->number() != 0) words.push_back(EnumWord(*type.value(i)));
  }
  return words;
}

}  // namespace dstack::config
