#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dstack/shim/v1/shim_service.pb.h"

#include "absl/status/status.h"
#include "services/server/agents/agent_bundle.h"

namespace dstack::server {

// Brings the agents of a host to the server's own, over the session with its shim and without an
// interruption of its jobs: see upgrade.proto. Belongs to the executor of its host's driver.
class HostUpgrade {
 public:
  struct Hooks {
    // Down the session.
    std::function<void(shim::v1::SessionRequest)> send;
    // Loads what the server has, off the executor, and hands it to OnAgents().
    std::function<void()> load_agents;
    // The host stays with its old agents, and why.
    std::function<void(const std::string& message)> on_failed;
  };

  HostUpgrade(std::string instance_id, Hooks hooks)
      : instance_id_(std::move(instance_id)), hooks_(std::move(hooks)) {}

  void OnHello(const shim::v1::ShimHello& hello) { hello_ = hello; }
  // The session is up: compares, and begins when something differs.
  void OnSynced();
  void OnAgents(std::shared_ptr<const AgentBundle::Files> files);
  void OnComponentStatus(const shim::v1::ComponentStatus& status);
  void OnUpgradeStatus(const shim::v1::UpgradeStatus& status);
  void OnSessionLost();

 private:
  struct Part {
    shim::v1::Component component;
    const AgentFile* file = nullptr;
    bool is_needed = false;
    std::uint64_t sent_bytes = 0;
    std::uint64_t acked_bytes = 0;
    bool is_staged = false;
  };

  bool Runs(shim::v1::Component component, const AgentFile& file) const;
  bool WasRolledBack() const;
  void SendChunks();
  void Activate();
  // These files are not offered again.
  void Fail(const std::string& message);
  // They are offered again with the next session.
  void Postpone(const std::string& message);
  void Forget();

  const std::string instance_id_;
  const Hooks hooks_;
  shim::v1::ShimHello hello_;
  std::shared_ptr<const AgentBundle::Files> files_;
  std::vector<Part> parts_;
  // Newest attempt of the host.
  shim::v1::UpgradeStatus last_;
  // Digests that this host did not take, or went back from: not offered again.
  std::vector<std::string> refused_;
  int attempts_ = 0;
};

}  // namespace dstack::server
