#pragma once

#include <functional>
#include <string>

#include "dstack/shim/v1/shim_service.grpc.pb.h"

#include "libs/base/clock.h"
#include "services/shim/api/drain_store.h"
#include "services/shim/api/session_hub.h"
#include "services/shim/domain/gpu_ledger.h"
#include "services/shim/domain/shim_home.h"
#include "services/shim/pipeline/status_board.h"
#include "services/shim/pipeline/task_table.h"
#include "services/shim/ports/container_runtime.h"
#include "services/shim/update/upgrader.h"

namespace dstack::shim {

// What the calls look at. All outlive the service; the functions may be called from any thread.
struct ShimServiceContext {
  SessionHub& hub;
  TaskTable& table;
  StatusBoard& board;
  DrainStore& drain;
  Upgrader& upgrader;
  GpuLedger& gpus;
  ContainerRuntime& runtime;
  ShimHome home;
  std::function<v1::HostFacts()> facts;
  // Looks for accelerators again; blocks for some seconds at most.
  std::function<void()> refresh_host;
  const base::Clock& clock;
};

// The RPCs of the shim: convert, act, convert back. Unary calls are synchronous and wait for their
// task up to the caller's deadline; the session is a reactor. What only people and repair tools
// call is in debug_calls.cc.
class ShimService final
    : public v1::ShimService::WithCallbackMethod_Session<v1::ShimService::Service> {
 public:
  explicit ShimService(ShimServiceContext context) : c_(std::move(context)) {}

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

  // debug_calls.cc
  grpc::Status InspectTask(grpc::ServerContext* context,
                           const v1::InspectTaskRequest* request,
                           v1::InspectTaskResponse* response) override;
  grpc::Status TailTaskLog(grpc::ServerContext* context,
                           const v1::TailTaskLogRequest* request,
                           v1::TailTaskLogResponse* response) override;
  grpc::Status GetPullLog(grpc::ServerContext* context,
                          const v1::GetPullLogRequest* request,
                          v1::GetPullLogResponse* response) override;
  grpc::Status DumpLedger(grpc::ServerContext* context,
                          const v1::DumpLedgerRequest* request,
                          v1::DumpLedgerResponse* response) override;
  grpc::Status RefreshHost(grpc::ServerContext* context,
                           const v1::RefreshHostRequest* request,
                           v1::RefreshHostResponse* response) override;
  grpc::Status SetDrain(grpc::ServerContext* context,
                        const v1::SetDrainRequest* request,
                        v1::SetDrainResponse* response) override;

 private:
  ShimServiceContext c_;
};

// Error of a call about a task that is not here.
absl::Status UnknownTask(const std::string& task_id);

}  // namespace dstack::shim
