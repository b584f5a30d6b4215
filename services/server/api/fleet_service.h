#pragma once

#include "dstack/api/v1/fleet_service.grpc.pb.h"

#include "libs/rpc/gate.h"
#include "services/server/ports/fleet_store.h"
#include "services/server/usecases/access.h"
#include "services/server/usecases/fleet_usecases.h"

namespace dstack::server {

// dstack.api.v1.FleetService; the proto is the contract.
class FleetService final : public api::v1::FleetService::Service {
 public:
  // All outlive this object.
  FleetService(rpc::Gate& gate, const Access& access, FleetUseCases& use_cases, FleetStore& fleets);

  grpc::Status PlanFleet(grpc::ServerContext* context,
                         const api::v1::PlanFleetRequest* request,
                         api::v1::PlanFleetResponse* response) override;
  grpc::Status ApplyFleet(grpc::ServerContext* context,
                          const api::v1::ApplyFleetRequest* request,
                          api::v1::ApplyFleetResponse* response) override;
  grpc::Status GetFleet(grpc::ServerContext* context,
                        const api::v1::GetFleetRequest* request,
                        api::v1::GetFleetResponse* response) override;
  grpc::Status ListFleets(grpc::ServerContext* context,
                          const api::v1::ListFleetsRequest* request,
                          api::v1::ListFleetsResponse* response) override;
  grpc::Status DeleteFleets(grpc::ServerContext* context,
                            const api::v1::DeleteFleetsRequest* request,
                            api::v1::DeleteFleetsResponse* response) override;

 private:
  rpc::Gate& gate_;
  const Access& access_;
  FleetUseCases& use_cases_;
  FleetStore& fleets_;
};

}  // namespace dstack::server
