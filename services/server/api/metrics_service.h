#pragma once

#include "dstack/api/v1/metrics_service.grpc.pb.h"

#include "libs/rpc/gate.h"
#include "services/server/ports/run_store.h"
#include "services/server/ports/usage_store.h"
#include "services/server/usecases/access.h"
#include "services/server/usecases/instance_usecases.h"

namespace dstack::server {

// dstack.api.v1.MetricsService; the proto is the contract.
class MetricsService final : public api::v1::MetricsService::Service {
 public:
  // All outlive this object.
  MetricsService(rpc::Gate& gate,
                 const Access& access,
                 InstanceUseCases& instances,
                 RunStore& runs,
                 UsageStore& usage);

  grpc::Status GetJobMetrics(grpc::ServerContext* context,
                             const api::v1::GetJobMetricsRequest* request,
                             api::v1::GetJobMetricsResponse* response) override;
  grpc::Status GetInstanceMetrics(grpc::ServerContext* context,
                                  const api::v1::GetInstanceMetricsRequest* request,
                                  api::v1::GetInstanceMetricsResponse* response) override;

 private:
  rpc::Gate& gate_;
  const Access& access_;
  InstanceUseCases& instances_;
  RunStore& runs_;
  UsageStore& usage_;
};

}  // namespace dstack::server
