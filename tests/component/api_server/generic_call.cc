#include "generic_call.h"

#include <algorithm>

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

struct Answer {
  absl::Status status;
  std::string bytes;  // first message
};

Answer CallPath(const std::shared_ptr<grpc::Channel>& channel,
                const std::string& path,
                const std::string& request_bytes,
                const std::string& token,
                bool is_stream) {
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  rpc::SetTimeout(context, std::chrono::seconds(30));
  if (!token.empty()) rpc::SetToken(context, token);
  grpc::CompletionQueue queue;
  auto call = stub.PrepareCall(&context, path, &queue);
  int tag = 0;
  call->StartCall(&tag);
  Next(queue);
  const grpc::Slice slice(request_bytes);
  call->WriteLast(grpc::ByteBuffer(&slice, 1), grpc::WriteOptions(), &tag);
  Next(queue);
  grpc::ByteBuffer buffer;
  call->Read(&buffer, &tag);
  Answer answer;
  if (Next(queue)) {
    grpc::Slice joined;
    if (buffer.DumpToSingleSlice(&joined).ok()) {
      answer.bytes.assign(reinterpret_cast<const char*>(joined.begin()), joined.size());
    }
    if (is_stream) context.TryCancel();
  }
  grpc::Status status;
  call->Finish(&status, &tag);
  Next(queue);
  answer.status = rpc::FromGrpc(status);
  return answer;
}

}  // namespace

std::vector<const MethodDescriptor*> ApiMethods() {
  const std::vector<const FileDescriptor*> files = {
      api::v1::PlanRunRequest::descriptor()->file(),
      api::v1::StreamLogsRequest::descriptor()->file(),
      api::v1::PlanFleetRequest::descriptor()->file(),
      api::v1::ListInstancesRequest::descriptor()->file(),
      api::v1::CreateProjectRequest::descriptor()->file(),
      api::v1::GetMyUserRequest::descriptor()->file(),
      api::v1::FindMissingFilesRequest::descriptor()->file(),
      api::v1::GetServerInfoRequest::descriptor()->file()};
  std::vector<const MethodDescriptor*> methods;
  for (const FileDescriptor* file : files) {
    for (int i = 0; i < file->service_count(); ++i) {
      for (int j = 0; j < file->service(i)->method_count(); ++j)
        methods.push_back(file->service(i)->method(j));
    }
  }
  return methods;
}

absl::Status GenericCall(const std::shared_ptr<grpc::Channel>& channel,
                         const MethodDescriptor& method,
                         const std::string& request_bytes,
                         const std::string& token) {
  const std::string path = "/" + method.service()->full_name() + "/" + method.name();
  return CallPath(channel, path, request_bytes, token, method.server_streaming()).status;
}

std::vector<std::string> ReflectedServices(const std::shared_ptr<grpc::Channel>& channel) {
  // ServerReflectionRequest{list_services: ""}; the answer is searched as bytes, because the
  // distribution ships no header for it.
  const std::string request("\x3a\x00", 2);
  const Answer answer = CallPath(
      channel, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", request, "", true);
  std::vector<std::string> found;
  for (const MethodDescriptor* method : ApiMethods()) {
    const std::string& name = method->service()->full_name();
    if (answer.bytes.find(name) != std::string::npos) found.push_back(name);
  }
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return found;
}

}  // namespace dstack::server
