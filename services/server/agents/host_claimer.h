#pragma once

#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "libs/base/mutex.h"
#include "libs/exec/thread_pool.h"
#include "libs/exec/timer.h"
#include "services/server/agents/agent_services.h"
#include "services/server/agents/host_driver.h"
#include "services/server/ports/notifications.h"

namespace dstack::server {

// Keeps this replica's lease, takes hosts that nobody owns and holds their drivers. When the lease
// cannot be renewed in time all hosts are dropped at once: another replica drives them then.
// Thread-safe.
class HostClaimer {
 public:
  // All outlive the object.
  struct Dependencies {
    InstanceStore& instances;
    JobStore& jobs;
    LogStore& logs;
    FileStore& files;
    IdentityStore& identities;
    Notifications& notifications;
    LogIngest& ingest;
    UsageRecorder& usage;
    HostTransports& transports;
    HostInstaller& installer;
    const base::Clock& clock;
    base::Random& random;
  };
  struct Options {
    AgentOptions agents;
    // Of the runners' tokens; the same for all replicas of an installation.
    base::Secret token_key;
    std::chrono::milliseconds heartbeat_interval{2'000};
    std::chrono::milliseconds lease{8'000};
    std::size_t claims_at_once = 64;
    std::size_t driver_threads = 8;
    std::size_t connect_threads = 16;
  };

  HostClaimer(const Dependencies& dependencies, Options options);
  ~HostClaimer();
  HostClaimer(const HostClaimer&) = delete;
  HostClaimer& operator=(const HostClaimer&) = delete;

  // Registers the replica and begins to claim. Once.
  absl::Status Start();
  // Ends all connections and gives the hosts back; jobs go on. Idempotent.
  void Stop();

  // Hosts that this replica drives, and those of them whose session is up.
  struct Counts {
    std::size_t owned = 0;
    std::size_t ready = 0;
  };
  Counts counts() const;

 private:
  using Drivers = std::map<std::string, std::unique_ptr<HostDriver>>;

  void Run(const std::stop_token& stop);
  bool WaitForTurn(const std::stop_token& stop);
  // True while the lease holds.
  bool KeepLease();
  void WatchLease();
  void ClaimHosts();
  void RemoveDone();
  void DropAll();
  void OnNotification(const std::string& payload);

  const Dependencies dependencies_;
  const Options options_;
  exec::TimerQueue timers_;
  exec::ThreadPool connect_pool_;
  exec::ThreadPool pool_;
  AgentServices services_;

  mutable base::Mutex mutex_;
  base::CondVar changed_;
  Drivers drivers_ GUARDED_BY(mutex_);
  bool is_woken_ GUARDED_BY(mutex_) = true;
  bool is_registered_ GUARDED_BY(mutex_) = false;
  bool is_stopping_ GUARDED_BY(mutex_) = false;
  // The database believes in our lease until then at least.
  base::MonotonicTime leased_until_ GUARDED_BY(mutex_);

  std::unique_ptr<Subscription> subscription_;
  std::jthread thread_;
  // Last: its thread ends before anything else goes.
  exec::TimerQueue watch_timer_;
};

}  // namespace dstack::server
