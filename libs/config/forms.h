// Grammars of single types and fields, on top of the plain reading of yaml_to_proto.h: shorthands
// such as `gpu: A100:2`, and fields whose YAML differs from their type.
#pragma once

#include <string>

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include "libs/config/node.h"

namespace dstack::config {

class YamlReader;

// Reads `node`, which is not null, into the field by the form in its options. False where the field
// has none, and nothing was done. Problems are recorded in `reader`, here and below.
bool ReadFieldForm(const Node& node,
                   const std::string& path,
                   google::protobuf::Message* message,
                   const google::protobuf::FieldDescriptor& field,
                   YamlReader* reader);

// Reads `node`, which is not null, by the grammar of the type of `message`. False where the type
// has none.
bool ReadMessageForm(const Node& node,
                     const std::string& path,
                     google::protobuf::Message* message,
                     YamlReader* reader);

// The word of an enum as users may write it: case and aliases for some types, as it is for others.
std::string NormalEnumWord(const google::protobuf::EnumDescriptor& type, const std::string& word);

}  // namespace dstack::config
