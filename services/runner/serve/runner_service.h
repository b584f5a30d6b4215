#pragma once

#include <string>

#include <grpcpp/grpcpp.h>

#include "dstack/runner/v1/runner_service.grpc.pb.h"

#include "libs/base/secret.h"
#include "services/runner/loop/event_loop.h"
#include "services/runner/serve/core.h"

namespace dstack::runner {

// dstack.runner.v1.RunnerService: checks the token, then hands over to the loop.
class RunnerService final : public v1::RunnerService::CallbackService {
 public:
  // Loop and core outlive the server.
  RunnerService(EventLoop& loop, ServeCore& core, base::Secret token);

  grpc::ServerBidiReactor<v1::SessionRequest, v1::SessionResponse>* Session(
      grpc::CallbackServerContext* context) override;
  grpc::ServerUnaryReactor* GetJob(grpc::CallbackServerContext* context,
                                   const v1::GetJobRequest* request,
                                   v1::GetJobResponse* response) override;
  grpc::ServerUnaryReactor* TailLogs(grpc::CallbackServerContext* context,
                                     const v1::TailLogsRequest* request,
                                     v1::TailLogsResponse* response) override;
  grpc::ServerUnaryReactor* StopJob(grpc::CallbackServerContext* context,
                                    const v1::StopJobRequest* request,
                                    v1::StopJobResponse* response) override;

 private:
  absl::Status Authenticate(const grpc::CallbackServerContext& context) const;
  // Runs `work` on the loop and finishes the call with what it returns.
  grpc::ServerUnaryReactor* OnLoop(grpc::CallbackServerContext* context,
                                   std::function<absl::Status()> work);

  EventLoop& loop_;
  ServeCore& core_;
  const base::Secret token_;
};

}  // namespace dstack::runner
