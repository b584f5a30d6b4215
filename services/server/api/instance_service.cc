#include "services/server/api/instance_service.h"

#include "libs/base/status.h"
#include "services/server/api/convert.h"
#include "services/server/api/methods.h"

namespace dstack::server {
namespace {

constexpr std::uint32_t kInstancesPageSize = 1000;

}  // namespace

InstanceService::InstanceService(rpc::Gate& gate,
                                 const Access& access,
                                 InstanceUseCases& use_cases,
                                 InstanceStore& instances)
    : gate_(gate), access_(access), use_cases_(use_cases), instances_(instances) {}

grpc::Status InstanceService::ListInstances(grpc::ServerContext* context,
                                            const api::v1::ListInstancesRequest* request,
                                            api::v1::ListInstancesResponse* response) {
  return gate_.Serve(
      *context, methods::kListInstances, [&](const rpc::Caller& caller) -> absl::Status {
        ASSIGN_OR_RETURN(const Project project,
                         access_.FindProject(caller, request->project_name()));
        InstanceStore::Filter filter;
        filter.project_id = project.id;
        filter.fleet_name = request->fleet_name();
        filter.include_terminated = request->include_terminated();
        filter.page_size = PageSize(request->page_size(), kInstancesPageSize, kInstancesPageSize);
        filter.page_token = request->page_token();
        ASSIGN_OR_RETURN(const auto page, instances_.List(filter));
        for (const Instance& instance : page.instances)
          *response->add_instances() = ToProto(instance);
        response->set_next_page_token(page.next_page_token);
        return absl::OkStatus();
      });
}

grpc::Status InstanceService::GetInstance(grpc::ServerContext* context,
                                          const api::v1::GetInstanceRequest* request,
                                          api::v1::GetInstanceResponse* response) {
  return gate_.Serve(
      *context, methods::kGetInstance, [&](const rpc::Caller& caller) -> absl::Status {
        ASSIGN_OR_RETURN(const Project project,
                         access_.FindProject(caller, request->project_name()));
        ASSIGN_OR_RETURN(const Instance instance, use_cases_.Find(project, request->instance_id()));
        *response->mutable_instance() = ToProto(instance);
        return absl::OkStatus();
      });
}

grpc::Status InstanceService::SetInstanceDrain(grpc::ServerContext* context,
                                               const api::v1::SetInstanceDrainRequest* request,
                                               api::v1::SetInstanceDrainResponse* response) {
  return gate_.Serve(
      *context, methods::kSetInstanceDrain, [&](const rpc::Caller& caller) -> absl::Status {
        ASSIGN_OR_RETURN(const Project project,
                         access_.FindProject(caller, request->project_name()));
        const std::string& id = request->instance_id();
        ASSIGN_OR_RETURN(const Instance instance,
                         request->is_draining()
                             ? use_cases_.Drain(caller, project, id, request->reason())
                             : use_cases_.LiftDrain(caller, project, id));
        *response->mutable_instance() = ToProto(instance);
        return absl::OkStatus();
      });
}

}  // namespace dstack::server
