#pragma once

#include "dstack/api/v1/project_service.grpc.pb.h"

#include "libs/rpc/gate.h"
#include "services/server/usecases/access.h"
#include "services/server/usecases/identity_usecases.h"

namespace dstack::server {

// dstack.api.v1.ProjectService; the proto is the contract.
class ProjectService final : public api::v1::ProjectService::Service {
 public:
  // All outlive this object.
  ProjectService(rpc::Gate& gate,
                 const Access& access,
                 IdentityUseCases& use_cases,
                 IdentityStore& identities);

  grpc::Status CreateProject(grpc::ServerContext* context,
                             const api::v1::CreateProjectRequest* request,
                             api::v1::CreateProjectResponse* response) override;
  grpc::Status GetProject(grpc::ServerContext* context,
                          const api::v1::GetProjectRequest* request,
                          api::v1::GetProjectResponse* response) override;
  grpc::Status ListProjects(grpc::ServerContext* context,
                            const api::v1::ListProjectsRequest* request,
                            api::v1::ListProjectsResponse* response) override;

 private:
  rpc::Gate& gate_;
  const Access& access_;
  IdentityUseCases& use_cases_;
  IdentityStore& identities_;
};

}  // namespace dstack::server
