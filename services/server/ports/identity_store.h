#pragma once

#include <optional>
#include <string>
#include <vector>

#include "dstack/api/v1/project.pb.h"
#include "dstack/api/v1/user.pb.h"

#include "absl/status/statusor.h"
#include "libs/base/ids.h"
#include "libs/base/secret.h"
#include "services/server/domain/run/run.h"

namespace dstack::server {

struct User {
  UserId id;
  std::string name;
  api::v1::GlobalRole global_role = api::v1::GLOBAL_ROLE_USER;
  std::string ssh_public_key;
  TimePoint created_at;
};

struct Project {
  ProjectId id;
  std::string name;
  std::string owner_name;
  TimePoint created_at;
  std::vector<std::pair<std::string, api::v1::ProjectRole>> members;
};

struct SshKeyPair {
  std::string public_key;
  base::Secret private_key;
};

// Users, tokens, projects and their keys. Thread-safe, blocking.
class IdentityStore {
 public:
  virtual ~IdentityStore() = default;

  // NOT_FOUND/USER_NOT_FOUND for an unknown, expired or revoked token. Tokens are stored as
  // SHA-256.
  virtual absl::StatusOr<User> FindByToken(const base::Secret& token) = 0;
  // Makes user, token and key pair. ALREADY_EXISTS/NAME_TAKEN.
  virtual absl::StatusOr<User> CreateUser(const std::string& name,
                                          api::v1::GlobalRole role,
                                          const base::Secret& token,
                                          const SshKeyPair& key) = 0;
  virtual absl::StatusOr<std::vector<User>> ListUsers(std::uint32_t page_size,
                                                      const std::string& after_name) = 0;
  virtual absl::StatusOr<SshKeyPair> LoadUserKey(const UserId& user) = 0;
  // Adds a token to an existing user if it is not there.
  virtual absl::Status EnsureToken(const UserId& user, const base::Secret& token) = 0;
  virtual absl::StatusOr<User> FindUser(const std::string& name) = 0;

  // ALREADY_EXISTS/NAME_TAKEN. The owner becomes admin; the key pair is the project's for its
  // hosts.
  virtual absl::StatusOr<Project> CreateProject(const std::string& name,
                                                const User& owner,
                                                const SshKeyPair& key) = 0;
  // NOT_FOUND/PROJECT_NOT_FOUND.
  virtual absl::StatusOr<Project> LoadProject(const std::string& name) = 0;
  // Role of a user; UNSPECIFIED for no member.
  virtual absl::StatusOr<api::v1::ProjectRole> RoleOf(const UserId& user,
                                                      const ProjectId& project) = 0;
  // Projects of a member by name; all for a global admin.
  virtual absl::StatusOr<std::vector<Project>> ListProjects(const User& caller,
                                                            std::uint32_t page_size,
                                                            const std::string& after_name) = 0;

  // Identity of the installation: made on the first start, the same for all replicas.
  virtual absl::StatusOr<std::string> ServerId() = 0;
};

}  // namespace dstack::server
