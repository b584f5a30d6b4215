#pragma once

#include <memory>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "services/server/agents/agent_bundle.h"
#include "services/server/agents/host_transport.h"

namespace dstack::server {

// What is asked of a host's installation.
struct InstallRequest {
  // The project's key, let in for later connections; empty: leave authorized_keys alone.
  std::string public_key;
  // For the shim's process.
  std::vector<std::pair<std::string, std::string>> env;
  // Files are compressed for the way; pointless where the way is this machine's loopback.
  bool is_local = false;
  // Put this server's agents in the place of a shim that runs, too: it does not answer, and could not
  // be upgraded over its session.
  bool takes_over = false;
};

// Puts the agents on a host and keeps the shim running. Thread-safe, blocking.
class HostInstaller {
 public:
  virtual ~HostInstaller() = default;
  // Idempotent; running jobs are never disturbed. A shim that runs with the same settings is left
  // alone, whatever its version: see HostUpgrade. Returns the path of the shim's socket on the
  // host, which may take a moment to answer. FAILED_PRECONDITION for a host that can never work
  // (operating system, architecture, missing tools); anything else may be tried again.
  virtual absl::StatusOr<std::string> Install(HostTransport& transport,
                                              const InstallRequest& request,
                                              std::stop_token stop) = 0;
  // What the server would put there; null when it has nothing.
  virtual absl::StatusOr<std::shared_ptr<const AgentBundle::Files>> Agents() {
    return std::shared_ptr<const AgentBundle::Files>();
  }
  // Why the shim does not answer, from its log on the host; empty when that says nothing.
  virtual std::string Diagnose(HostTransport& transport) = 0;
  // Stops the shim and removes everything of ours, the key last. OK when nothing is there.
  virtual absl::Status Uninstall(HostTransport& transport,
                                 const InstallRequest& request,
                                 std::stop_token stop) = 0;
};

// The real one: shell scripts over the transport. Everything lies in ~/.dstack/hosts/<server id>/
// of the login user.
class AgentInstaller final : public HostInstaller {
 public:
  struct Options {
    std::string server_id;
    // Image for jobs without one; empty: the shim's own default.
    std::string base_image;
  };
  // `bundle` outlives the object.
  AgentInstaller(AgentBundle& bundle, Options options)
      : bundle_(bundle), options_(std::move(options)) {}

  absl::StatusOr<std::string> Install(HostTransport& transport,
                                      const InstallRequest& request,
                                      std::stop_token stop) override;
  absl::StatusOr<std::shared_ptr<const AgentBundle::Files>> Agents() override {
    return bundle_.Get();
  }
  std::string Diagnose(HostTransport& transport) override;
  absl::Status Uninstall(HostTransport& transport,
                         const InstallRequest& request,
                         std::stop_token stop) override;

 private:
  struct Probe;
  absl::StatusOr<Probe> ProbeHost(HostTransport& transport,
                                  const InstallRequest& request,
                                  const AgentBundle::Files& files,
                                  std::stop_token stop);
  absl::Status Upload(HostTransport& transport,
                      const AgentFile& file,
                      const Probe& probe,
                      std::stop_token stop);
  // First line of that script: the same for the same settings, whatever the agents.
  std::string SettingsLine(const InstallRequest& request) const;
  // Text of the script that becomes the shim.
  std::string StartScript(const InstallRequest& request,
                          const AgentBundle::Files& files,
                          const Probe& probe) const;

  AgentBundle& bundle_;
  const Options options_;
};

}  // namespace dstack::server
