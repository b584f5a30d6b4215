#include "services/server/usecases/identity_usecases.h"

#include <utility>

#include "libs/base/random.h"
#include "libs/base/sha256.h"
#include "libs/base/status.h"
#include "libs/config/names.h"
#include "services/server/usecases/access.h"

namespace dstack::server {

base::Secret NewToken() {
  constexpr std::size_t kTokenBytes = 32;
  return base::Secret(base::HexEncode(base::SecureRandomBytes(kTokenBytes)));
}

IdentityUseCases::IdentityUseCases(IdentityStore& identities, KeyMaker make_key)
    : identities_(identities), make_key_(std::move(make_key)) {}

absl::StatusOr<IdentityUseCases::NewUser> IdentityUseCases::CreateUser(const rpc::Caller& caller,
                                                                       const std::string& name,
                                                                       api::v1::GlobalRole role) {
  RETURN_IF_ERROR(Access::RequireGlobalAdmin(caller));
  if (const absl::Status rule = config::CheckUserName(name); !rule.ok()) {
    return base::InvalidField("user_name", base::Message(rule));
  }
  if (role == api::v1::GLOBAL_ROLE_UNSPECIFIED) role = api::v1::GLOBAL_ROLE_USER;
  if (!api::v1::GlobalRole_IsValid(role))
    return base::InvalidField("global_role", "is no role that this server knows");
  NewUser result;
  result.token = NewToken();
  ASSIGN_OR_RETURN(const SshKeyPair key, make_key_(name + "@dstack"));
  ASSIGN_OR_RETURN(result.user, identities_.CreateUser(name, role, result.token, key));
  return result;
}

absl::StatusOr<Project> IdentityUseCases::CreateProject(const rpc::Caller& caller,
                                                        const std::string& name) {
  if (const absl::Status rule = config::CheckProjectName(name); !rule.ok()) {
    return base::InvalidField("project_name", base::Message(rule));
  }
  ASSIGN_OR_RETURN(const User owner, identities_.FindUser(caller.identity.user_name));
  ASSIGN_OR_RETURN(const SshKeyPair key, make_key_("project-" + name + "@dstack"));
  return identities_.CreateProject(name, owner, key);
}

absl::Status IdentityUseCases::Bootstrap(const base::Secret& admin_token) {
  ASSIGN_OR_RETURN(const User admin, EnsureAdmin(admin_token));
  RETURN_IF_ERROR(identities_.EnsureToken(admin.id, admin_token));
  return EnsureProject(kDefaultProject, admin);
}

absl::StatusOr<User> IdentityUseCases::EnsureAdmin(const base::Secret& token) {
  auto found = identities_.FindUser(kAdminName);
  if (found.ok() || !absl::IsNotFound(found.status())) return found;
  ASSIGN_OR_RETURN(const SshKeyPair key, make_key_("admin@dstack"));
  auto made = identities_.CreateUser(kAdminName, api::v1::GLOBAL_ROLE_ADMIN, token, key);
  // Another replica was faster.
  if (absl::IsAlreadyExists(made.status())) return identities_.FindUser(kAdminName);
  return made;
}

absl::Status IdentityUseCases::EnsureProject(const std::string& name, const User& owner) {
  const absl::Status found = identities_.LoadProject(name).status();
  if (!absl::IsNotFound(found)) return found;
  ASSIGN_OR_RETURN(const SshKeyPair key, make_key_("project-" + name + "@dstack"));
  const absl::Status made = identities_.CreateProject(name, owner, key).status();
  return absl::IsAlreadyExists(made) ? absl::OkStatus() : made;
}

}  // namespace dstack::server
