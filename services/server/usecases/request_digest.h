#pragma once

#include <string>

#include "absl/status/status.h"
#include "google/protobuf/message.h"

namespace dstack::server {

// SHA-256 of a request in hexadecimal digits, the same for equal content whatever the order of map
// entries: tells a repeated request from another one that uses the same request_id.
std::string RequestDigest(const google::protobuf::Message& request);

// A request_id is empty or has 1 to 64 printable characters.
absl::Status CheckRequestId(const std::string& request_id);

}  // namespace dstack::server
