#include "services/server/api/fleet_service.h"

#include "libs/base/status.h"
#include "libs/base/uuid.h"
#include "services/server/api/convert.h"
#include "services/server/api/methods.h"
#include "services/server/usecases/request_digest.h"

namespace dstack::server {
namespace {

constexpr std::uint32_t kFleetsPageSize = 100;

}  // namespace

FleetService::FleetService(rpc::Gate& gate,
                           const Access& access,
                           FleetUseCases& use_cases,
                           FleetStore& fleets)
    : gate_(gate), access_(access), use_cases_(use_cases), fleets_(fleets) {}

grpc::Status FleetService::PlanFleet(grpc::ServerContext* context,
                                     const api::v1::PlanFleetRequest* request,
                                     api::v1::PlanFleetResponse* response) {
  return gate_.Serve(*context, methods::kPlanFleet, [&](const rpc::Caller& caller) -> absl::Status {
    ASSIGN_OR_RETURN(const Project project, access_.FindProject(caller, request->project_name()));
    ASSIGN_OR_RETURN(const FleetProposal proposal, use_cases_.Plan(project, request->fleet_spec()));
    *response->mutable_plan() = ToProto(proposal, project, caller.identity.user_name);
    return absl::OkStatus();
  });
}

grpc::Status FleetService::ApplyFleet(grpc::ServerContext* context,
                                      const api::v1::ApplyFleetRequest* request,
                                      api::v1::ApplyFleetResponse* response) {
  return gate_.Serve(
      *context, methods::kApplyFleet, [&](const rpc::Caller& caller) -> absl::Status {
        ASSIGN_OR_RETURN(const Project project,
                         access_.FindProject(caller, request->project_name()));
        FleetUseCases::Application application;
        application.spec = request->fleet_spec();
        application.request_id = request->request_id();
        application.request_digest = RequestDigest(*request);
        application.current_fleet_id = request->current_fleet_id();
        application.is_forced = request->is_forced();
        ASSIGN_OR_RETURN(const Fleet fleet, use_cases_.Apply(caller, project, application));
        *response->mutable_fleet() = ToProto(fleet);
        return absl::OkStatus();
      });
}

grpc::Status FleetService::GetFleet(grpc::ServerContext* context,
                                    const api::v1::GetFleetRequest* request,
                                    api::v1::GetFleetResponse* response) {
  return gate_.Serve(*context, methods::kGetFleet, [&](const rpc::Caller& caller) -> absl::Status {
    ASSIGN_OR_RETURN(const Project project, access_.FindProject(caller, request->project_name()));
    if (request->fleet_name().empty() && request->fleet_id().empty()) {
      return base::InvalidField("fleet_name", "fleet_name or fleet_id must be set");
    }
    if (!request->fleet_id().empty() && !base::IsUuid(request->fleet_id())) {
      return base::NotFound("FLEET_NOT_FOUND", "fleet", request->fleet_id());
    }
    ASSIGN_OR_RETURN(const Fleet fleet,
                     fleets_.Load(project.id, request->fleet_name(), request->fleet_id()));
    *response->mutable_fleet() = ToProto(fleet);
    return absl::OkStatus();
  });
}

grpc::Status FleetService::ListFleets(grpc::ServerContext* context,
                                      const api::v1::ListFleetsRequest* request,
                                      api::v1::ListFleetsResponse* response) {
  return gate_.Serve(
      *context, methods::kListFleets, [&](const rpc::Caller& caller) -> absl::Status {
        ASSIGN_OR_RETURN(const Project project,
                         access_.FindProject(caller, request->project_name()));
        const auto page_size = PageSize(request->page_size(), kFleetsPageSize, kFleetsPageSize);
        ASSIGN_OR_RETURN(const auto page,
                         fleets_.List(project.id, page_size, request->page_token()));
        for (const Fleet& fleet : page.fleets) *response->add_fleets() = ToProto(fleet);
        response->set_next_page_token(page.next_page_token);
        return absl::OkStatus();
      });
}

grpc::Status FleetService::DeleteFleets(grpc::ServerContext* context,
                                        const api::v1::DeleteFleetsRequest* request,
                                        api::v1::DeleteFleetsResponse*) {
  return gate_.Serve(
      *context, methods::kDeleteFleets, [&](const rpc::Caller& caller) -> absl::Status {
        ASSIGN_OR_RETURN(const Project project,
                         access_.FindProject(caller, request->project_name()));
        return use_cases_.Delete(project,
                                 {request->fleet_names().begin(), request->fleet_names().end()},
                                 {request->instance_nums().begin(), request->instance_nums().end()},
                                 request->allow_missing());
      });
}

}  // namespace dstack::server
