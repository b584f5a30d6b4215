#include "services/server/store/postgres_identity_store.h"

#include <map>
#include <utility>

#include "libs/base/sha256.h"
#include "libs/base/status.h"
#include "libs/db/params.h"
#include "libs/db/rows.h"
#include "services/server/store/enums.h"
#include "services/server/store/secret_places.h"

namespace dstack::server {
namespace {

constexpr const char* kSelectUser =
    "SELECT u.id, u.name, u.global_role, u.ssh_public_key,"
    " extract(epoch FROM u.created_at) AS created_at FROM users u ";

constexpr const char* kSelectProject =
    "SELECT p.id, p.name, o.name AS owner_name, extract(epoch FROM p.created_at) AS created_at"
    " FROM projects p JOIN users o ON o.id = p.owner_id ";

User UserFromRow(const pqxx::row& row) {
  User user;
  user.id = UserId(db::Text(row["id"]));
  user.name = db::Text(row["name"]);
  user.global_role = FromWord<api::v1::GlobalRole>(db::TextView(row["global_role"]));
  user.ssh_public_key = db::Text(row["ssh_public_key"]);
  user.created_at = db::EpochTime(row["created_at"]);
  return user;
}

absl::Status UserNotFound(const std::string& name) {
  return base::NotFound("USER_NOT_FOUND", "user", name);
}

pqxx::binarystring HashOf(const base::Secret& token) {
  return pqxx::binarystring(base::Sha256Bytes(token.Reveal()));
}

// Says the noun instead of the constraint.
absl::Status NameTaken(const absl::Status& status, const char* type, const std::string& name) {
  if (status.code() != absl::StatusCode::kAlreadyExists) return status;
  return base::AlreadyExists("NAME_TAKEN", type, name);
}

std::vector<Project> ProjectsFromRows(pqxx::work& tx, const pqxx::result& rows) {
  std::vector<Project> projects;
  std::vector<ProjectId> ids;
  for (const auto& row : rows) {
    Project project;
    project.id = ProjectId(db::Text(row["id"]));
    project.name = db::Text(row["name"]);
    project.owner_name = db::Text(row["owner_name"]);
    project.created_at = db::EpochTime(row["created_at"]);
    ids.push_back(project.id);
    projects.push_back(std::move(project));
  }
  std::map<std::string, std::vector<std::pair<std::string, api::v1::ProjectRole>>> members;
  for (const auto& row : tx.exec_params(
           "SELECT m.project_id, u.name, m.role FROM project_members m"
           " JOIN users u ON u.id = m.user_id WHERE m.project_id = ANY($1::uuid[]) ORDER BY u.name",
           db::IdArray(ids))) {
    members[db::Text(row["project_id"])].emplace_back(
        db::Text(row["name"]), FromWord<api::v1::ProjectRole>(db::TextView(row["role"])));
  }
  for (Project& project : projects) project.members = std::move(members[project.id.str()]);
  return projects;
}

}  // namespace

absl::StatusOr<User> PostgresIdentityStore::FindByToken(const base::Secret& token) {
  return Transact(context_, [&](pqxx::work& tx) -> absl::StatusOr<User> {
    const auto rows = tx.exec_params(
        std::string(kSelectUser) +
            "JOIN user_tokens t ON t.user_id = u.id WHERE t.token_hash = $1"
            " AND t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > now())",
        HashOf(token));
    // The token is not repeated in the error.
    if (rows.empty()) return UserNotFound("with this token");
    return UserFromRow(rows[0]);
  });
}

absl::StatusOr<User> PostgresIdentityStore::CreateUser(const std::string& name,
                                                       api::v1::GlobalRole role,
                                                       const base::Secret& token,
                                                       const SshKeyPair& key) {
  const auto created = Transact(context_, [&](pqxx::work& tx) -> absl::StatusOr<User> {
    User user;
    user.id = UserId(context_.ids.NewId());
    user.name = name;
    user.global_role = role;
    user.ssh_public_key = key.public_key;
    user.created_at = context_.clock.Now();
    tx.exec_params0(
        "INSERT INTO users (id, name, global_role, ssh_public_key, ssh_private_key, created_at)"
        " VALUES ($1, $2, $3, $4, $5, $6)",
        user.id.str(),
        name,
        WordOf(role),
        key.public_key,
        db::Bytes(context_.box.Seal(key.private_key.Reveal(), UserKeyPlace(user.id))),
        db::Time(user.created_at));
    tx.exec_params0("INSERT INTO user_tokens (token_hash, user_id) VALUES ($1, $2)",
                    HashOf(token),
                    user.id.str());
    return user;
  });
  if (!created.ok()) return NameTaken(created.status(), "user", name);
  return created;
}

absl::StatusOr<std::vector<User>> PostgresIdentityStore::ListUsers(std::uint32_t page_size,
                                                                   const std::string& after_name) {
  return Transact(context_, [&](pqxx::work& tx) -> absl::StatusOr<std::vector<User>> {
    std::vector<User> users;
    for (const auto& row :
         tx.exec_params(std::string(kSelectUser) + "WHERE u.name > $1 ORDER BY u.name LIMIT $2",
                        db::CleanText(after_name),
                        page_size)) {
      users.push_back(UserFromRow(row));
    }
    return users;
  });
}

absl::StatusOr<SshKeyPair> PostgresIdentityStore::LoadUserKey(const UserId& user) {
  return Transact(context_, [&](pqxx::work& tx) -> absl::StatusOr<SshKeyPair> {
    const auto rows = tx.exec_params(
        "SELECT ssh_public_key, ssh_private_key FROM users WHERE id = $1", user.str());
    if (rows.empty()) return UserNotFound(user.str());
    ASSIGN_OR_RETURN(std::string key,
                     context_.box.Open(db::Blob(rows[0]["ssh_private_key"]), UserKeyPlace(user)));
    return SshKeyPair{db::Text(rows[0]["ssh_public_key"]), base::Secret(std::move(key))};
  });
}

absl::Status PostgresIdentityStore::EnsureToken(const UserId& user, const base::Secret& token) {
  return Transact(context_, [&](pqxx::work& tx) -> absl::Status {
    // A token that was revoked stays revoked; one of another user stays that user's.
    tx.exec_params0(
        "INSERT INTO user_tokens (token_hash, user_id) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        HashOf(token),
        user.str());
    const auto rows = tx.exec_params(
        "SELECT user_id FROM user_tokens WHERE token_hash = $1 AND revoked_at IS NULL",
        HashOf(token));
    if (!rows.empty() && db::Text(rows[0]["user_id"]) == user.str()) return absl::OkStatus();
    return base::Error(absl::StatusCode::kFailedPrecondition,
                       "INVALID_STATE",
                       "the token was revoked or belongs to another user: choose another one");
  });
}

absl::StatusOr<User> PostgresIdentityStore::FindUser(const std::string& name) {
  return Transact(context_, [&](pqxx::work& tx) -> absl::StatusOr<User> {
    const auto rows =
        tx.exec_params(std::string(kSelectUser) + "WHERE u.name = $1", db::CleanText(name));
    if (rows.empty()) return UserNotFound(name);
    return UserFromRow(rows[0]);
  });
}

absl::StatusOr<Project> PostgresIdentityStore::CreateProject(const std::string& name,
                                                             const User& owner,
                                                             const SshKeyPair& key) {
  const auto created = Transact(context_, [&](pqxx::work& tx) -> absl::StatusOr<Project> {
    Project project;
    project.id = ProjectId(context_.ids.NewId());
    project.name = name;
    project.owner_name = owner.name;
    project.created_at = context_.clock.Now();
    project.members = {{owner.name, api::v1::PROJECT_ROLE_ADMIN}};
    tx.exec_params0(
        "INSERT INTO projects (id, name, owner_id, ssh_public_key, ssh_private_key, created_at)"
        " VALUES ($1, $2, $3, $4, $5, $6)",
        project.id.str(),
        name,
        owner.id.str(),
        key.public_key,
        db::Bytes(context_.box.Seal(key.private_key.Reveal(), ProjectKeyPlace(project.id))),
        db::Time(project.created_at));
    tx.exec_params0(
        "INSERT INTO project_members (project_id, user_id, role) VALUES ($1, $2, 'admin')",
        project.id.str(),
        owner.id.str());
    return project;
  });
  if (!created.ok()) return NameTaken(created.status(), "project", name);
  return created;
}

absl::StatusOr<Project> PostgresIdentityStore::LoadProject(const std::string& name) {
  return Transact(context_, [&](pqxx::work& tx) -> absl::StatusOr<Project> {
    const auto rows =
        tx.exec_params(std::string(kSelectProject) + "WHERE p.name = $1", db::CleanText(name));
    if (rows.empty()) return base::NotFound("PROJECT_NOT_FOUND", "project", name);
    return std::move(ProjectsFromRows(tx, rows).front());
  });
}

absl::StatusOr<api::v1::ProjectRole> PostgresIdentityStore::RoleOf(const UserId& user,
                                                                   const ProjectId& project) {
  return Transact(context_, [&](pqxx::work& tx) -> absl::StatusOr<api::v1::ProjectRole> {
    const auto rows =
        tx.exec_params("SELECT role FROM project_members WHERE project_id = $1 AND user_id = $2",
                       project.str(),
                       user.str());
    if (rows.empty()) return api::v1::PROJECT_ROLE_UNSPECIFIED;
    return FromWord<api::v1::ProjectRole>(db::TextView(rows[0]["role"]));
  });
}

absl::StatusOr<std::vector<Project>> PostgresIdentityStore::ListProjects(
    const User& caller, std::uint32_t page_size, const std::string& after_name) {
  return Transact(context_, [&](pqxx::work& tx) -> absl::StatusOr<std::vector<Project>> {
    const bool sees_all = caller.global_role == api::v1::GLOBAL_ROLE_ADMIN;
    const auto rows = tx.exec_params(
        std::string(kSelectProject) +
            "WHERE p.name > $1 AND ($3 OR EXISTS (SELECT FROM project_members m"
            " WHERE m.project_id = p.id AND m.user_id = $4)) ORDER BY p.name LIMIT $2",
        db::CleanText(after_name),
        page_size,
        sees_all,
        caller.id.str());
    return ProjectsFromRows(tx, rows);
  });
}

absl::StatusOr<std::string> PostgresIdentityStore::ServerId() {
  return Transact(context_, [&](pqxx::work& tx) -> absl::StatusOr<std::string> {
    tx.exec_params0(
        "INSERT INTO settings (name, value) VALUES ('server_id', $1) ON CONFLICT DO NOTHING",
        context_.ids.NewId());
    const auto rows = tx.exec("SELECT value FROM settings WHERE name = 'server_id'");
    return db::Text(rows[0]["value"]);
  });
}

}  // namespace dstack::server
