#pragma once

#include <memory>
#include <string>
#include <vector>

#include <absl/status/status.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>
#include <grpcpp/channel.h>

namespace dstack::server {

// All methods of the public API, by descriptor.
std::vector<const google::protobuf::MethodDescriptor*> ApiMethods();

// Calls any method, streaming or not, with one message, and gives its final status. The first
// answer of a stream ends the call.
absl::Status GenericCall(const std::shared_ptr<grpc::Channel>& channel,
                         const google::protobuf::MethodDescriptor& method,
                         const std::string& request_bytes,
                         const std::string& token);

// Names of the services that reflection lists. It needs no token.
std::vector<std::string> ReflectedServices(const std::shared_ptr<grpc::Channel>& channel);

}  // namespace dstack::server
