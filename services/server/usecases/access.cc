#include "services/server/usecases/access.h"

#include <algorithm>

#include "libs/base/status.h"

namespace dstack::server {
namespace {

bool IsMember(const Project& project, const std::string& user_name) {
  return std::any_of(project.members.begin(), project.members.end(), [&](const auto& member) {
    return member.first == user_name && member.second != api::v1::PROJECT_ROLE_UNSPECIFIED;
  });
}

}  // namespace

absl::StatusOr<Project> Access::FindProject(const rpc::Caller& caller,
                                            const std::string& name) const {
  if (name.empty()) return base::InvalidField("project_name", "must not be empty");
  auto project = identities_.LoadProject(name);
  const bool is_absent = absl::IsNotFound(project.status());
  if (!project.ok() && !is_absent) return project.status();
  if (is_absent ||
      !(caller.identity.is_global_admin || IsMember(*project, caller.identity.user_name))) {
    return base::NotFound("PROJECT_NOT_FOUND", "project", name);
  }
  return project;
}

absl::Status Access::RequireGlobalAdmin(const rpc::Caller& caller) {
  if (caller.identity.is_global_admin) return absl::OkStatus();
  return base::Error(
      absl::StatusCode::kPermissionDenied, "ACCESS_DENIED", "only global admins may do this");
}

}  // namespace dstack::server
