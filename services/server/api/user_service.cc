#include "services/server/api/user_service.h"

#include "libs/base/status.h"
#include "services/server/api/convert.h"
#include "services/server/api/methods.h"

namespace dstack::server {
namespace {

constexpr std::uint32_t kDefaultPageSize = 100;
constexpr std::uint32_t kMaxPageSize = 1000;

}  // namespace

UserService::UserService(rpc::Gate& gate, IdentityUseCases& use_cases, IdentityStore& identities)
    : gate_(gate), use_cases_(use_cases), identities_(identities) {}

grpc::Status UserService::GetMyUser(grpc::ServerContext* context,
                                    const api::v1::GetMyUserRequest*,
                                    api::v1::GetMyUserResponse* response) {
  return gate_.Serve(*context, methods::kGetMyUser, [&](const rpc::Caller& caller) -> absl::Status {
    ASSIGN_OR_RETURN(const User user, identities_.FindUser(caller.identity.user_name));
    *response->mutable_user() = ToProto(user);
    return absl::OkStatus();
  });
}

grpc::Status UserService::GetMySshKey(grpc::ServerContext* context,
                                      const api::v1::GetMySshKeyRequest*,
                                      api::v1::GetMySshKeyResponse* response) {
  return gate_.Serve(
      *context, methods::kGetMySshKey, [&](const rpc::Caller& caller) -> absl::Status {
        ASSIGN_OR_RETURN(const SshKeyPair key,
                         identities_.LoadUserKey(UserId(caller.identity.user_id)));
        response->set_private_key(key.private_key.Reveal());
        response->set_public_key(key.public_key);
        return absl::OkStatus();
      });
}

grpc::Status UserService::CreateUser(grpc::ServerContext* context,
                                     const api::v1::CreateUserRequest* request,
                                     api::v1::CreateUserResponse* response) {
  return gate_.Serve(
      *context, methods::kCreateUser, [&](const rpc::Caller& caller) -> absl::Status {
        ASSIGN_OR_RETURN(
            const auto made,
            use_cases_.CreateUser(caller, request->user_name(), request->global_role()));
        *response->mutable_user() = ToProto(made.user);
        response->set_token(made.token.Reveal());
        return absl::OkStatus();
      });
}

grpc::Status UserService::ListUsers(grpc::ServerContext* context,
                                    const api::v1::ListUsersRequest* request,
                                    api::v1::ListUsersResponse* response) {
  return gate_.Serve(*context, methods::kListUsers, [&](const rpc::Caller& caller) -> absl::Status {
    ASSIGN_OR_RETURN(const std::string after, DecodeNameToken(request->page_token()));
    if (!caller.identity.is_global_admin) {
      ASSIGN_OR_RETURN(const User user, identities_.FindUser(caller.identity.user_name));
      if (user.name > after) *response->add_users() = ToProto(user);
      return absl::OkStatus();
    }
    const auto page_size = PageSize(request->page_size(), kDefaultPageSize, kMaxPageSize);
    // One more than asked for tells whether another page follows.
    ASSIGN_OR_RETURN(const auto users, identities_.ListUsers(page_size + 1, after));
    for (const User& user : users) {
      if (static_cast<std::uint32_t>(response->users_size()) == page_size) {
        response->set_next_page_token(
            EncodeNameToken(response->users(response->users_size() - 1).name()));
        break;
      }
      *response->add_users() = ToProto(user);
    }
    return absl::OkStatus();
  });
}

}  // namespace dstack::server
