#pragma once

#include <string>

#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"

namespace dstack::server {

// Values of documents in one short line, as a user would write them. Pure.

// Whether messages of this type have a text of their own ("24GB..", "A100:2", "1h"); others are
// told field by field.
bool HasText(const google::protobuf::Descriptor& type);

// The text of a message whose type HasText.
std::string TextOf(const google::protobuf::Message& message);

// The text of a field that is neither repeated nor a message without a text; empty where it is not
// set, "***" where it is secret.
std::string TextOfField(const google::protobuf::Message& message,
                        const google::protobuf::FieldDescriptor& field);

// The text of one element of a repeated field; empty where its type has none.
std::string TextOfElement(const google::protobuf::Message& message,
                          const google::protobuf::FieldDescriptor& field,
                          int index);

}  // namespace dstack::server
