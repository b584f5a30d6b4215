#include "generic_call.h"

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include "dstack/api/v1/file_service.pb.h"
#include "dstack/api/v1/fleet_service.pb.h"
#include "dstack/api/v1/instance_service.pb.h"
#include "dstack/api/v1/log_service.pb.h"
#include "dstack/api/v1/project_service.pb.h"
#include "dstack/api/v1/run_service.pb.h"
#include "dstack/api/v1/server_service.pb.h"
#include "dstack/api/v1/user_service.pb.h"
#include "libs/rpc/channel.h"
#include "libs/rpc/status_mapping.h"

namespace dstack::server {
namespace {

using google::protobuf::FileDescriptor;
using google::protobuf::MethodDescriptor;

// True when the operation before succeeded.
bool Next(grpc::CompletionQueue& queue) {
  void* tag = nullptr;
  bool ok = false;
  return queue.Next(&tag, &ok) && ok;
}

}  // namespace

std::vector<const MethodDescriptor*> ApiMethods() {
  const std::vector<const FileDescriptor*> files = {
      api::v1::PlanRunRequest::descriptor()->file(),        api::v1::StreamLogsRequest::descriptor()->file(),
      api::v1::PlanFleetRequest::descriptor()->file(),      api::v1::ListInstancesRequest::descriptor()->file(),
      api::v1::CreateProjectRequest::descriptor()->file(),  api::v1::GetMyUserRequest::descriptor()->file(),
      api::v1::FindMissingFilesRequest::descriptor()->file(), api::v1::GetServerInfoRequest::descriptor()->file()};
  std::vector<const MethodDescriptor*> methods;
  for (const FileDescriptor* file : files) {
    for (int i = 0; i < file->service_count(); ++i) {
      for (int j = 0; j < file->service(i)->method_count(); ++j) methods.push_back(file->service(i)->method(j));
    }
  }
  return methods;
}

absl::Status GenericCall(const std::shared_ptr<grpc::Channel>& channel,
                         const MethodDescriptor& method,
                         const std::string& request_bytes,
                         const std::string& token) {
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  rpc::SetTimeout(context, std::chrono::seconds(30));
  if (!token.empty()) rpc::SetToken(context, token);
  grpc::CompletionQueue queue;
  const std::string path = "/" + method.service()->full_name() + "/" + method.name();
  auto call = stub.PrepareCall(&context, path, &queue);
  int tag = 0;
  call->StartCall(&tag);
  Next(queue);
  const grpc::Slice slice(request_bytes);
  call->WriteLast(grpc::ByteBuffer(&slice, 1), grpc::WriteOptions(), &tag);
  Next(queue);
  grpc::ByteBuffer answer;
  call->Read(&answer, &tag);
  if (Next(queue) && method.server_streaming()) context.TryCancel();
  grpc::Status status;
  call->Finish(&status, &tag);
  Next(queue);
  return rpc::FromGrpc(status);
}

}  // namespace dstack::server
