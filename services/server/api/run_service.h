#pragma once

#include "dstack/api/v1/run_service.grpc.pb.h"

#include "libs/base/clock.h"
#include "libs/rpc/gate.h"
#include "services/server/api/convert.h"
#include "services/server/api/run_watch.h"
#include "services/server/ports/run_store.h"
#include "services/server/usecases/access.h"
#include "services/server/usecases/run_usecases.h"

namespace dstack::server {

// dstack.api.v1.RunService; the proto is the contract.
class RunService final
    : public api::v1::RunService::WithCallbackMethod_WatchRun<api::v1::RunService::Service> {
 public:
  // All outlive this object.
  RunService(const WatchCall::Services& streams,
             const Access& access,
             RunUseCases& use_cases,
             RunStore& runs,
             WatchHub& watch_hub,
             const base::Clock& clock,
             HostKeyOf host_key_of);

  grpc::Status PlanRun(grpc::ServerContext* context,
                       const api::v1::PlanRunRequest* request,
                       api::v1::PlanRunResponse* response) override;
  grpc::Status ApplyRun(grpc::ServerContext* context,
                        const api::v1::ApplyRunRequest* request,
                        api::v1::ApplyRunResponse* response) override;
  grpc::Status GetRun(grpc::ServerContext* context,
                      const api::v1::GetRunRequest* request,
                      api::v1::GetRunResponse* response) override;
  grpc::Status ListRuns(grpc::ServerContext* context,
                        const api::v1::ListRunsRequest* request,
                        api::v1::ListRunsResponse* response) override;
  grpc::Status StopRuns(grpc::ServerContext* context,
                        const api::v1::StopRunsRequest* request,
                        api::v1::StopRunsResponse* response) override;
  grpc::Status DeleteRuns(grpc::ServerContext* context,
                          const api::v1::DeleteRunsRequest* request,
                          api::v1::DeleteRunsResponse* response) override;
  grpc::ServerWriteReactor<api::v1::WatchRunResponse>* WatchRun(
      grpc::CallbackServerContext* context, const api::v1::WatchRunRequest* request) override;

 private:
  RunView View() const { return {clock_.Now(), host_key_of_}; }
  absl::Status StartWatch(const std::shared_ptr<WatchCall>& call,
                          const api::v1::WatchRunRequest& request);

  const WatchCall::Services streams_;
  const Access& access_;
  RunUseCases& use_cases_;
  RunStore& runs_;
  WatchHub& watch_hub_;
  const base::Clock& clock_;
  const HostKeyOf host_key_of_;
};

}  // namespace dstack::server
