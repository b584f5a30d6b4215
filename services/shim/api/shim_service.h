#pragma once

#include <functional>

#include "dstack/shim/v1/shim_service.grpc.pb.h"

#include "libs/base/clock.h"
#include "services/shim/api/session_hub.h"
#include "services/shim/pipeline/status_board.h"
#include "services/shim/pipeline/task_table.h"

namespace dstack::shim {

// The RPCs of the shim: convert, act, convert back. Unary calls are synchronous and wait for their
// task up to the caller's deadline; the session is a reactor.
class ShimService final
    : public v1::ShimService::WithCallbackMethod_Session<v1::ShimService::Service> {
 public:
  // All outlive this object. `facts` may be called from any thread.
  ShimService(SessionHub& hub,
              TaskTable& table,
              StatusBoard& board,
              std::function<v1::HostFacts()> facts,
              const base::Clock& clock);

  grpc::ServerBidiReactor<v1::SessionRequest, v1::SessionResponse>* Session(
      grpc::CallbackServerContext* context) override;
  grpc::Status GetHost(grpc::ServerContext* context,
                       const v1::GetHostRequest* request,
                       v1::GetHostResponse* response) override;
  grpc::Status ListTasks(grpc::ServerContext* context,
                         const v1::ListTasksRequest* request,
                         v1::ListTasksResponse* response) override;
  grpc::Status GetTask(grpc::ServerContext* context,
                       const v1::GetTaskRequest* request,
                       v1::GetTaskResponse* response) override;
  grpc::Status TerminateTask(grpc::ServerContext* context,
                             const v1::TerminateTaskRequest* request,
                             v1::TerminateTaskResponse* response) override;
  grpc::Status RemoveTask(grpc::ServerContext* context,
                          const v1::RemoveTaskRequest* request,
                          v1::RemoveTaskResponse* response) override;

 private:
  SessionHub& hub_;
  TaskTable& table_;
  StatusBoard& board_;
  const std::function<v1::HostFacts()> facts_;
  const base::Clock& clock_;
};

}  // namespace dstack::shim
