#include "services/server/api/project_service.h"

#include "libs/base/status.h"
#include "services/server/api/convert.h"
#include "services/server/api/methods.h"
#include "services/server/usecases/request_digest.h"

namespace dstack::server {
namespace {

constexpr std::uint32_t kDefaultPageSize = 100;
constexpr std::uint32_t kMaxPageSize = 1000;

User UserOf(const rpc::Caller& caller) {
  User user;
  user.id = UserId(caller.identity.user_id);
  user.name = caller.identity.user_name;
  user.global_role =
      caller.identity.is_global_admin ? api::v1::GLOBAL_ROLE_ADMIN : api::v1::GLOBAL_ROLE_USER;
  return user;
}

// A repeated create finds the caller's own project under that name: with a request_id that is the
// first answer again.
bool IsOwnAnswer(const absl::StatusOr<Project>& existing,
                 const rpc::Caller& caller,
                 const std::string& request_id) {
  return !request_id.empty() && existing.ok() && existing->owner_name == caller.identity.user_name;
}

}  // namespace

ProjectService::ProjectService(rpc::Gate& gate,
                               const Access& access,
                               IdentityUseCases& use_cases,
                               IdentityStore& identities)
    : gate_(gate), access_(access), use_cases_(use_cases), identities_(identities) {}

grpc::Status ProjectService::CreateProject(grpc::ServerContext* context,
                                           const api::v1::CreateProjectRequest* request,
                                           api::v1::CreateProjectResponse* response) {
  return gate_.Serve(
      *context, methods::kCreateProject, [&](const rpc::Caller& caller) -> absl::Status {
        RETURN_IF_ERROR(CheckRequestId(request->request_id()));
        auto project = use_cases_.CreateProject(caller, request->project_name());
        if (absl::IsAlreadyExists(project.status())) {
          auto existing = access_.FindProject(caller, request->project_name());
          if (IsOwnAnswer(existing, caller, request->request_id())) project = std::move(existing);
        }
        if (!project.ok()) return project.status();
        *response->mutable_project() = ToProto(*project);
        return absl::OkStatus();
      });
}

grpc::Status ProjectService::GetProject(grpc::ServerContext* context,
                                        const api::v1::GetProjectRequest* request,
                                        api::v1::GetProjectResponse* response) {
  return gate_.Serve(
      *context, methods::kGetProject, [&](const rpc::Caller& caller) -> absl::Status {
        ASSIGN_OR_RETURN(const Project project,
                         access_.FindProject(caller, request->project_name()));
        *response->mutable_project() = ToProto(project);
        return absl::OkStatus();
      });
}

grpc::Status ProjectService::ListProjects(grpc::ServerContext* context,
                                          const api::v1::ListProjectsRequest* request,
                                          api::v1::ListProjectsResponse* response) {
  return gate_.Serve(
      *context, methods::kListProjects, [&](const rpc::Caller& caller) -> absl::Status {
        const auto page_size = PageSize(request->page_size(), kDefaultPageSize, kMaxPageSize);
        ASSIGN_OR_RETURN(const std::string after, DecodeNameToken(request->page_token()));
        // One more than asked for tells whether another page follows.
        ASSIGN_OR_RETURN(const auto projects,
                         identities_.ListProjects(UserOf(caller), page_size + 1, after));
        for (const Project& project : projects) {
          if (static_cast<std::uint32_t>(response->projects_size()) == page_size) {
            response->set_next_page_token(
                EncodeNameToken(response->projects(response->projects_size() - 1).name()));
            break;
          }
          *response->add_projects() = ToProto(project);
        }
        return absl::OkStatus();
      });
}

}  // namespace dstack::server
