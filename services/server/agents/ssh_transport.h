#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "libs/base/file.h"
#include "libs/base/mutex.h"
#include "libs/ssh/pipe_watcher.h"
#include "services/server/agents/host_transport.h"

namespace dstack::server {

// Limits how many handshakes run at once with the same sshd: beyond ten it begins to drop them
// (MaxStartups). Thread-safe.
class HandshakeGate {
 public:
  explicit HandshakeGate(int per_address) : per_address_(per_address) {}
  // Waits for a place. False when stopped.
  bool Enter(const std::string& address, std::stop_token stop);
  void Leave(const std::string& address);

 private:
  const int per_address_;
  base::Mutex mutex_;
  base::CondVar changed_;
  std::map<std::string, int> running_ GUARDED_BY(mutex_);
};

// OpenSSH: one master process per host. Outlives its transports.
class SshTransports final : public HostTransports {
 public:
  // Makes a private directory for keys and sockets below `parent` (short: socket paths end at 108
  // bytes) and removes those of servers that are not alive any more.
  static absl::StatusOr<std::unique_ptr<SshTransports>> Create(const std::string& parent = "/tmp");
  ~SshTransports() override;

  std::unique_ptr<HostTransport> Make(const Instance& instance,
                                      const HostConnection& connection,
                                      OnBroken on_broken) override;

 private:
  SshTransports(std::string directory, base::UniqueFd lock);

  const std::string directory_;
  const base::UniqueFd lock_;
  ssh::PipeWatcher watcher_;
  HandshakeGate gate_;
  base::Mutex mutex_;
  std::uint64_t next_ GUARDED_BY(mutex_) = 1;
};

}  // namespace dstack::server
