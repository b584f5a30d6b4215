#include "services/server/local_host/local_host.h"

#include <cstdlib>
#include <utility>

#include "fmt/format.h"
#include "libs/base/file.h"
#include "libs/base/status.h"
#include "libs/telemetry/log.h"

namespace dstack::server {
namespace {

constexpr const char* kFleetName = "local";
constexpr const char* kAddress = "127.0.0.1";
// Name of the key in the fleet's document; it tells this fleet from others of the same name.
constexpr const char* kKeyName = "key of this machine";

}  // namespace

// Sessions get a home of their own: what the server installs here stays below its own directory,
// apart from the person's files and from other servers of the same user.
LocalHost::LocalHost(const std::string& directory)
    : directory_(directory),
      sshd_(base::JoinPath(directory, "sshd"), fmt::format("SetEnv HOME=\"{}\"\n", directory)) {}

LocalHost::~LocalHost() {
  const absl::Status stopped = sshd_.Stop();
  if (!stopped.ok()) telemetry::Warn("the private sshd did not end", {{"error", stopped}});
}

absl::StatusOr<std::unique_ptr<LocalHost>> LocalHost::Start(const std::string& directory) {
  std::unique_ptr<LocalHost> host(new LocalHost(directory));
  RETURN_IF_ERROR(base::MakeDirs(directory, 0700));
  RETURN_IF_ERROR(host->EnsureLoginKey());
  RETURN_IF_ERROR(host->sshd_.EnsureRunning({host->login_key_.public_key}));
  return host;
}

absl::Status LocalHost::EnsureLoginKey() {
  const std::string path = base::JoinPath(directory_, "login_key");
  auto private_key = base::ReadFile(path);
  auto public_key = base::ReadFile(path + ".pub");
  if (private_key.ok() && public_key.ok()) {
    login_key_ = {*std::move(public_key), base::Secret(*std::move(private_key))};
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(login_key_, ssh::GenerateKeyPair("dstack local host"));
  RETURN_IF_ERROR(base::WriteFileAtomic(path, login_key_.private_key.Reveal(), 0600));
  return base::WriteFileAtomic(path + ".pub", login_key_.public_key, 0644);
}

LocalHostAccess LocalHost::access() const {
  LocalHostAccess access;
  access.port = sshd_.port();
  // Read once, before the server's threads start.
  const char* docker_host = std::getenv("DOCKER_HOST");
  if (docker_host != nullptr) access.shim_env.emplace_back("DOCKER_HOST", docker_host);
  return access;
}

FleetChange LocalHost::MakeChange(const Project& project,
                                  const UserId& user,
                                  base::IdSource& ids) const {
  FleetChange change;
  change.project_id = project.id;
  change.user_id = user;
  change.name = kFleetName;
  config::v1::FleetConfiguration& document = *change.spec.mutable_configuration();
  document.set_name(kFleetName);
  config::v1::SshConfig& ssh = *document.mutable_ssh_config();
  ssh.set_user(sshd_.user());
  ssh.set_identity_file(kKeyName);
  config::v1::SshHost& host = *ssh.add_hosts();
  host.set_hostname(kAddress);
  host.set_port(sshd_.port());
  host.set_host_key(sshd_.host_key());
  (*change.spec.mutable_ssh_keys())[kKeyName] = login_key_.private_key.Reveal();
  NewHost added;
  added.id = InstanceId(ids.NewId());
  added.hostname = kAddress;
  added.port = sshd_.port();
  added.user = sshd_.user();
  added.identity_key_name = kKeyName;
  added.host_key = sshd_.host_key();
  change.added.push_back(std::move(added));
  return change;
}

absl::Status LocalHost::Register(FleetStore& fleets,
                                 IdentityStore& identities,
                                 const std::string& project_name,
                                 base::IdSource& ids,
                                 const base::Clock& clock) {
  ASSIGN_OR_RETURN(const Project project, identities.LoadProject(project_name));
  ASSIGN_OR_RETURN(const User owner, identities.FindUser(project.owner_name));
  FleetChange change = MakeChange(project, owner.id, ids);
  const auto current = fleets.Load(project.id, kFleetName, "");
  if (!current.ok() && !absl::IsNotFound(current.status())) return current.status();
  if (current.ok() && current->status == api::v1::FLEET_STATUS_ACTIVE) {
    if (current->spec.configuration().ssh_config().identity_file() != kKeyName) {
      return absl::FailedPreconditionError(base::ToAbsl(fmt::format(
          "project {} has another fleet named {}: rename it to use this machine as a host",
          project_name,
          kFleetName)));
    }
    change.fleet_id = current->id;
    for (const Instance& instance : current->instances) {
      const bool is_leaving =
          IsFinal(instance.status) || instance.status == api::v1::INSTANCE_STATUS_TERMINATING;
      if (is_leaving) continue;
      if (instance.port == sshd_.port() && instance.hostname == kAddress) return absl::OkStatus();
      // Of a former port: its sshd is not there any more.
      change.removed.push_back(instance.id);
    }
  }
  ASSIGN_OR_RETURN(const Fleet fleet, fleets.Apply(change, clock.Now()));
  telemetry::Info("this machine is a host", {{"fleet", fleet.name}, {"port", sshd_.port()}});
  return absl::OkStatus();
}

}  // namespace dstack::server
