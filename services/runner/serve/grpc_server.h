#pragma once

#include <memory>

#include <absl/status/statusor.h>
#include <grpcpp/grpcpp.h>

#include "services/runner/loop/event_loop.h"
#include "services/runner/options.h"
#include "services/runner/serve/core.h"
#include "services/runner/serve/runner_service.h"
#include "services/runner/state/task_dir.h"

namespace dstack::runner {

// The listening side: runner.sock in the task's directory, with health and reflection.
class GrpcServer {
 public:
  // Reads the token. The process must run in the task's directory: the socket is bound by its bare
  // name, because the path on a host may be longer than a socket address.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(const ServingOptions& options,
                                                           const TaskDir& dir,
                                                           EventLoop& loop,
                                                           ServeCore& core);
  // Ends all calls, the last ones by force. The loop must not run any more.
  ~GrpcServer();

 private:
  explicit GrpcServer(std::unique_ptr<RunnerService> service) : service_(std::move(service)) {}

  std::unique_ptr<RunnerService> service_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace dstack::runner
