#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "libs/rpc/caller.h"
#include "services/server/ports/identity_store.h"

namespace dstack::server {

// Who may see what. Thread-safe; blocks on the store.
class Access {
 public:
  // Outlives this object.
  explicit Access(IdentityStore& identities) : identities_(identities) {}

  // The project, if the caller is a member or a global admin. A project of others and one that does
  // not exist give the same answer: NOT_FOUND/PROJECT_NOT_FOUND.
  absl::StatusOr<Project> FindProject(const rpc::Caller& caller, const std::string& name) const;

  // PERMISSION_DENIED/ACCESS_DENIED for others.
  static absl::Status RequireGlobalAdmin(const rpc::Caller& caller);

 private:
  IdentityStore& identities_;
};

}  // namespace dstack::server
