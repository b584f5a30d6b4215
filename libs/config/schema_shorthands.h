// How scalars and shorthands look in a JSON Schema. Internal to schema.cc.
#pragma once

#include <optional>
#include <vector>

#include <google/protobuf/descriptor.h>
#include <nlohmann/json_fwd.hpp>

namespace dstack::config::schema {

// A field that is no message, by its type and limits.
nlohmann::ordered_json Scalar(const google::protobuf::FieldDescriptor& field);

// A field whose form in the reading rules says all; nullopt: as its type says.
std::optional<nlohmann::ordered_json> FormOf(const google::protobuf::FieldDescriptor& field);

// A type that has no mapping form of its own; nullopt: it has one.
std::optional<nlohmann::ordered_json> WholeForm(const google::protobuf::Descriptor& type);

// The forms of a type beside its mapping; may be empty.
std::vector<nlohmann::ordered_json> ShorthandsOf(const google::protobuf::Descriptor& type);

// The shorthands of the port of a service.
nlohmann::ordered_json ServicePort();

}  // namespace dstack::config::schema
