#pragma once

#include <absl/status/status.h>
#include <google/protobuf/message.h>
#include <grpcpp/impl/codegen/status.h>

// Errors keep their reason across hops: payloads of an absl::Status (google.rpc.ErrorInfo,
// BadRequest, RetryInfo, ...) travel as details of google.rpc.Status in `grpc-status-details-bin`.
//
// The functions are pure and may be called from any thread.
namespace dstack::rpc {

// The status as gRPC sends it. Every payload whose type URL begins with "type.googleapis.com/"
// becomes a detail, ErrorInfo first. Peers refuse more than 8 KiB of trailing metadata, so a long
// message is cut (it then ends in "...") and a BadRequest with too many violations says at its end
// how many are left out; other details that do not fit are dropped.
grpc::Status ToGrpc(const absl::Status& status);

// The reverse of ToGrpc. A status without details, or with details that cannot be read, keeps its
// code and message. A code that this version does not know becomes UNKNOWN.
absl::Status FromGrpc(const grpc::Status& status);

// Adds (or replaces) a detail. Has no effect on an OK status.
void AddDetail(absl::Status& status, const google::protobuf::Message& detail);

// Reads the detail of that type into `detail`; false if there is none or it cannot be read.
bool GetDetail(const absl::Status& status, google::protobuf::Message* detail);

}  // namespace dstack::rpc
