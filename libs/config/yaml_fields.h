// How messages map to YAML: keys, enum words and the rules in the field options. Shared by the
// reader and the validator, so that both name a field as the user wrote it.
#pragma once

#include <string>
#include <vector>

#include <google/protobuf/descriptor.h>
#include <google/protobuf/generated_enum_reflection.h>
#include <google/protobuf/message.h>

#include "dstack/config/v1/yaml_options.pb.h"

namespace dstack::config {

// The options of a field; defaults where it has none.
const v1::YamlField& RulesOf(const google::protobuf::FieldDescriptor& field);

// One key that a mapping of a message type may have.
struct YamlKey {
  std::string name;
  std::string alias;  // empty: none
  // From the message down to the field, through messages whose fields lie at this level.
  std::vector<const google::protobuf::FieldDescriptor*> chain;

  const google::protobuf::FieldDescriptor& field() const { return *chain.back(); }
};

// The keys of a message type. Of a oneof of inlined messages only the member `kind` counts; nullptr
// leaves them all out.
std::vector<YamlKey> KeysOf(const google::protobuf::Descriptor& type,
                            const google::protobuf::FieldDescriptor* kind = nullptr);

// The key of a field itself, without regard to inlining.
std::string KeyName(const google::protobuf::FieldDescriptor& field);

// True where an explicit null means "unset".
bool IsNullable(const google::protobuf::FieldDescriptor& field);

// The word for an enum value: SPOT_POLICY_ON_DEMAND is `on-demand`. Empty for the zero value.
std::string EnumWord(const google::protobuf::EnumValueDescriptor& value);

template <typename Enum>
std::string EnumWord(Enum value) {
  const auto* descriptor = google::protobuf::GetEnumDescriptor<Enum>()->FindValueByNumber(value);
  return descriptor == nullptr ? "" : EnumWord(*descriptor);
}

// The words of all values but the zero one.
std::vector<std::string> EnumWords(const google::protobuf::EnumDescriptor& type);

}  // namespace dstack::config
