#pragma once

#include "dstack/api/v1/instance_service.grpc.pb.h"

#include "libs/rpc/gate.h"
#include "services/server/ports/instance_store.h"
#include "services/server/usecases/access.h"
#include "services/server/usecases/instance_usecases.h"

namespace dstack::server {

// dstack.api.v1.InstanceService; the proto is the contract.
class InstanceService final : public api::v1::InstanceService::Service {
 public:
  // All outlive this object.
  InstanceService(rpc::Gate& gate,
                  const Access& access,
                  InstanceUseCases& use_cases,
                  InstanceStore& instances);

  grpc::Status ListInstances(grpc::ServerContext* context,
                             const api::v1::ListInstancesRequest* request,
                             api::v1::ListInstancesResponse* response) override;
  grpc::Status GetInstance(grpc::ServerContext* context,
                           const api::v1::GetInstanceRequest* request,
                           api::v1::GetInstanceResponse* response) override;
  grpc::Status SetInstanceDrain(grpc::ServerContext* context,
                                const api::v1::SetInstanceDrainRequest* request,
                                api::v1::SetInstanceDrainResponse* response) override;

 private:
  rpc::Gate& gate_;
  const Access& access_;
  InstanceUseCases& use_cases_;
  InstanceStore& instances_;
};

}  // namespace dstack::server
