#pragma once

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "libs/base/secret.h"
#include "libs/rpc/caller.h"
#include "services/server/ports/identity_store.h"

namespace dstack::server {

// Makes a new key pair for ssh; `comment` ends the public line.
using KeyMaker = std::function<absl::StatusOr<SshKeyPair>(const std::string& comment)>;

// A bearer token that cannot be guessed: 256 random bits.
base::Secret NewToken();

// Users, projects and the first start. Thread-safe, blocking; the store outlives it.
class IdentityUseCases {
 public:
  IdentityUseCases(IdentityStore& identities, KeyMaker make_key);

  struct NewUser {
    User user;
    base::Secret token;
  };
  // Global admins only.
  absl::StatusOr<NewUser> CreateUser(const rpc::Caller& caller,
                                     const std::string& name,
                                     api::v1::GlobalRole role);
  absl::StatusOr<Project> CreateProject(const rpc::Caller& caller, const std::string& name);

  // User `admin` with that token and project `main`, made if they are not there. Several replicas
  // may do so at once.
  absl::Status Bootstrap(const base::Secret& admin_token);

 private:
  absl::StatusOr<User> EnsureAdmin(const base::Secret& token);
  absl::Status EnsureProject(const std::string& name, const User& owner);

  IdentityStore& identities_;
  const KeyMaker make_key_;
};

inline constexpr const char* kAdminName = "admin";
inline constexpr const char* kDefaultProject = "main";

}  // namespace dstack::server
