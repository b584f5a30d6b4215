#pragma once

#include "dstack/api/v1/log_service.grpc.pb.h"

#include "services/server/api/log_stream.h"
#include "services/server/ports/run_store.h"
#include "services/server/usecases/access.h"

namespace dstack::server {

// dstack.api.v1.LogService; the proto is the contract.
class LogService final
    : public api::v1::LogService::WithCallbackMethod_StreamLogs<api::v1::LogService::Service> {
 public:
  // All outlive this object.
  LogService(const LogCall::Services& streams,
             const LogStream::Services& logs,
             const Access& access,
             RunStore& runs);

  grpc::ServerWriteReactor<api::v1::StreamLogsResponse>* StreamLogs(
      grpc::CallbackServerContext* context, const api::v1::StreamLogsRequest* request) override;

 private:
  absl::Status StartStream(const std::shared_ptr<LogCall>& call,
                           const api::v1::StreamLogsRequest& request);
  absl::StatusOr<LogStream::Request> Resolve(const rpc::Caller& caller,
                                             const api::v1::StreamLogsRequest& request);
  absl::StatusOr<LogStream::Request> FindSubmission(const Project& project, const std::string& id);
  absl::StatusOr<LogStream::Request> FindNewest(const Project& project,
                                                const api::v1::StreamLogsRequest& request);

  const LogCall::Services streams_;
  const LogStream::Services logs_;
  const Access& access_;
  RunStore& runs_;
};

}  // namespace dstack::server
