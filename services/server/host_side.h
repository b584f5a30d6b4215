#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "libs/base/secret.h"
#include "services/server/agents/agent_bundle.h"
#include "services/server/agents/agent_services.h"
#include "services/server/control_plane.h"

namespace dstack::server {

// A key for one purpose, made from the master key: knowing it tells nothing about the master key or
// about keys of other purposes.
base::Secret DeriveKey(const base::Secret& master_key, const std::string& purpose);

// From which tokens and host keys of jobs are derived.
base::Secret RunnerTokenKey(const base::Secret& master_key);

// The server's connections to hosts: ssh, installation, drivers of the hosts that this replica
// owns.
class HostSide {
 public:
  struct Settings {
    std::string replica_id;
    base::Secret master_key;
    AgentBundle::Paths agents;
    std::string base_image;
    std::string docker_image;
    std::chrono::milliseconds host_lost_after{0};
    std::optional<LocalHostAccess> local_host;
  };

  // `plane` outlives the object.
  static absl::StatusOr<std::unique_ptr<HostSide>> Start(ControlPlane& plane,
                                                         const Settings& settings);
  ~HostSide();
  HostSide(const HostSide&) = delete;
  HostSide& operator=(const HostSide&) = delete;

  // Gives all hosts back, so that another replica can take over at once; jobs go on. Idempotent.
  void Stop();

 private:
  struct Parts;
  explicit HostSide(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace dstack::server
