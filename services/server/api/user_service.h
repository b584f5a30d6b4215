#pragma once

#include "dstack/api/v1/user_service.grpc.pb.h"

#include "libs/rpc/gate.h"
#include "services/server/ports/identity_store.h"
#include "services/server/usecases/identity_usecases.h"

namespace dstack::server {

// dstack.api.v1.UserService; the proto is the contract.
class UserService final : public api::v1::UserService::Service {
 public:
  // All outlive this object.
  UserService(rpc::Gate& gate, IdentityUseCases& use_cases, IdentityStore& identities);

  grpc::Status GetMyUser(grpc::ServerContext* context,
                         const api::v1::GetMyUserRequest* request,
                         api::v1::GetMyUserResponse* response) override;
  grpc::Status GetMySshKey(grpc::ServerContext* context,
                           const api::v1::GetMySshKeyRequest* request,
                           api::v1::GetMySshKeyResponse* response) override;
  grpc::Status CreateUser(grpc::ServerContext* context,
                          const api::v1::CreateUserRequest* request,
                          api::v1::CreateUserResponse* response) override;
  grpc::Status ListUsers(grpc::ServerContext* context,
                         const api::v1::ListUsersRequest* request,
                         api::v1::ListUsersResponse* response) override;

 private:
  rpc::Gate& gate_;
  IdentityUseCases& use_cases_;
  IdentityStore& identities_;
};

}  // namespace dstack::server
