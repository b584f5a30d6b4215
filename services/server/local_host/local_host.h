#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/base/clock.h"
#include "libs/base/uuid.h"
#include "libs/ssh/keys.h"
#include "libs/ssh/private_sshd.h"
#include "services/server/agents/agent_services.h"
#include "services/server/ports/fleet_store.h"
#include "services/server/ports/identity_store.h"

namespace dstack::server {

// This machine as a host of the server that runs on it: a private sshd on loopback, with a key pair
// of its own, and an ordinary fleet with one host behind it. Not thread-safe, blocking.
class LocalHost {
 public:
  // `directory` (<server home>/host) keeps keys and sshd, and is the home directory of the logins. Finds the sshd of an earlier server
  // that was killed. NOT_FOUND names the package when there is no sshd.
  static absl::StatusOr<std::unique_ptr<LocalHost>> Start(const std::string& directory);
  // Ends the sshd. Jobs go on.
  ~LocalHost();
  LocalHost(const LocalHost&) = delete;
  LocalHost& operator=(const LocalHost&) = delete;

  // For AgentOptions. The server's DOCKER_HOST is handed on to the shim.
  LocalHostAccess access() const;

  // Makes this machine the host of fleet `local` of that project; again changes nothing.
  // FAILED_PRECONDITION when somebody else's fleet has that name.
  absl::Status Register(FleetStore& fleets,
                        IdentityStore& identities,
                        const std::string& project_name,
                        base::IdSource& ids,
                        const base::Clock& clock);

  std::uint16_t port() const { return sshd_.port(); }

 private:
  explicit LocalHost(const std::string& directory);
  absl::Status EnsureLoginKey();
  FleetChange MakeChange(const Project& project, const UserId& user, base::IdSource& ids) const;

  const std::string directory_;
  ssh::PrivateSshd sshd_;
  ssh::KeyPair login_key_;
};

}  // namespace dstack::server
