// The grammar of `env`: a list of `NAME=value` and `NAME`, or a mapping.
#pragma once

#include <string>

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include "libs/config/node.h"

namespace dstack::config {

class YamlReader;

// Reads `node`, which is not null, into `field`, a list of EnvVar. Problems are recorded in
// `reader` and show no value.
void ReadEnv(const Node& node,
             const std::string& path,
             google::protobuf::Message* message,
             const google::protobuf::FieldDescriptor& field,
             YamlReader* reader);

}  // namespace dstack::config
