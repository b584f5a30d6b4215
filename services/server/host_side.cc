#include "services/server/host_side.h"

#include <array>
#include <utility>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "libs/base/random.h"
#include "libs/base/status.h"
#include "services/server/agents/host_claimer.h"
#include "services/server/agents/host_installer.h"
#include "services/server/agents/ssh_transport.h"

namespace dstack::server {

base::Secret DeriveKey(const base::Secret& master_key, const std::string& purpose) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int length = 0;
  HMAC(EVP_sha256(),
       master_key.Reveal().data(),
       static_cast<int>(master_key.Reveal().size()),
       reinterpret_cast<const unsigned char*>(purpose.data()),
       purpose.size(),
       digest.data(),
       &length);
  return base::Secret(std::string(reinterpret_cast<const char*>(digest.data()), length));
}

base::Secret RunnerTokenKey(const base::Secret& master_key) {
  return DeriveKey(master_key, "runner tokens");
}

namespace {

// Name of an installation's directory on its hosts: 12 digits of the id tell installations apart,
// and paths of sockets below it stay short.
std::string DirectoryName(const std::string& server_id) { return server_id.substr(0, 13); }

}  // namespace

struct HostSide::Parts {
  explicit Parts(AgentBundle::Paths paths) : bundle(std::move(paths)) {}

  AgentBundle bundle;
  base::SeededRandom random;
  std::unique_ptr<SshTransports> transports;
  std::unique_ptr<AgentInstaller> installer;
  std::unique_ptr<HostClaimer> claimer;
};

absl::StatusOr<std::unique_ptr<HostSide>> HostSide::Start(ControlPlane& plane,
                                                          const Settings& settings) {
  auto parts = std::make_unique<Parts>(settings.agents);
  ASSIGN_OR_RETURN(parts->transports, SshTransports::Create());
  parts->installer = std::make_unique<AgentInstaller>(
      parts->bundle,
      AgentInstaller::Options{.server_id = DirectoryName(plane.server_id()),
                              .base_image = settings.base_image});
  HostClaimer::Options options;
  options.agents.server_id = plane.server_id();
  options.agents.replica_id = settings.replica_id;
  options.agents.host_lost_after = settings.host_lost_after;
  options.agents.local_host = settings.local_host;
  options.agents.docker_image = settings.docker_image;
  options.token_key = RunnerTokenKey(settings.master_key);
  Stores& stores = plane.stores();
  parts->claimer = std::make_unique<HostClaimer>(
      HostClaimer::Dependencies{.instances = stores.instances,
                                .jobs = stores.jobs,
                                .logs = stores.logs,
                                .files = stores.files,
                                .identities = stores.identities,
                                .notifications = plane.notifications(),
                                .ingest = plane.ingest(),
                                .usage = plane.usage(),
                                .transports = *parts->transports,
                                .installer = *parts->installer,
                                .clock = plane.clock(),
                                .random = parts->random},
      std::move(options));
  RETURN_IF_ERROR(parts->claimer->Start());
  return std::unique_ptr<HostSide>(new HostSide(std::move(parts)));
}

HostSide::HostSide(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

HostSide::~HostSide() { Stop(); }

void HostSide::Stop() { parts_->claimer->Stop(); }

}  // namespace dstack::server
