#pragma once

#include <string>
#include <vector>

#include "services/server/ports/identity_store.h"
#include "services/server/store/store_context.h"

namespace dstack::server {

// Users and projects in PostgreSQL. See IdentityStore.
class PostgresIdentityStore final : public IdentityStore {
 public:
  explicit PostgresIdentityStore(const StoreContext& context) : context_(context) {}

  absl::StatusOr<User> FindByToken(const base::Secret& token) override;
  absl::StatusOr<User> CreateUser(const std::string& name,
                                  api::v1::GlobalRole role,
                                  const base::Secret& token,
                                  const SshKeyPair& key) override;
  absl::StatusOr<std::vector<User>> ListUsers(std::uint32_t page_size,
                                              const std::string& after_name) override;
  absl::StatusOr<SshKeyPair> LoadUserKey(const UserId& user) override;
  absl::Status EnsureToken(const UserId& user, const base::Secret& token) override;
  absl::StatusOr<User> FindUser(const std::string& name) override;
  absl::StatusOr<Project> CreateProject(const std::string& name,
                                        const User& owner,
                                        const SshKeyPair& key) override;
  absl::StatusOr<Project> LoadProject(const std::string& name) override;
  absl::StatusOr<api::v1::ProjectRole> RoleOf(const UserId& user,
                                              const ProjectId& project) override;
  absl::StatusOr<std::vector<Project>> ListProjects(const User& caller,
                                                    std::uint32_t page_size,
                                                    const std::string& after_name) override;
  absl::StatusOr<std::string> ServerId() override;

 private:
  const StoreContext context_;
};

}  // namespace dstack::server
