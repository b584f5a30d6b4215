#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <stop_token>
#include <string>

#include "libs/base/backoff.h"
#include "libs/exec/serial_executor.h"
#include "services/server/agents/agent_services.h"
#include "services/server/agents/host_upgrade.h"
#include "services/server/agents/job_driver.h"
#include "services/server/agents/mailbox.h"
#include "services/server/agents/shim_session.h"
#include "services/server/domain/instance/drain.h"
#include "services/server/domain/usage/usage_meter.h"

namespace dstack::server {

// Drives one host that this replica owns, from the claim until the host is gone or somebody else
// owns it: connects, installs the agents, keeps a session with the shim, and one JobDriver for each
// job that holds blocks. Everything happens on an executor of its own; the public methods only post
// and are thread-safe.
class HostDriver final : private JobHost, private ShimSession::Events {
 public:
  // `services` outlives the object.
  HostDriver(AgentServices& services, ClaimedHost host);
  // Ends all connections; jobs go on on the host.
  ~HostDriver() override;
  HostDriver(const HostDriver&) = delete;
  HostDriver& operator=(const HostDriver&) = delete;

  // Begins to end, so that many drivers can end at the same time; the destructor waits.
  void BeginStop();
  // Something about the host's jobs or the host itself changed in the database.
  void Wake();
  // It has nothing more to do: the host is gone, or another replica owns it.
  bool IsDone() const { return is_done_; }
  bool IsReadyNow() const { return is_ready_; }

 private:
  enum class State {
    kWaiting,     // for the next attempt
    kConnecting,  // connection and installation, on the connect pool
    kOpening,     // the shim's session
    kReady,
    kLeaving,  // uninstalling, on the connect pool
    kStopped,
  };

  // What an attempt to connect gave.
  struct Connected {
    std::shared_ptr<HostTransport> transport;
    absl::StatusOr<std::string> shim_socket = absl::UnknownError("not connected");
  };

  // JobHost
  bool IsReady() const override { return state_ == State::kReady; }
  HostEpoch epoch() const override { return {instance_.id, instance_.owner_epoch}; }
  const HostConnection& connection() const override { return connection_; }
  void SendToShim(shim::v1::SessionRequest request) override;
  absl::StatusOr<std::string> Forward(const std::string& remote_socket) override;
  void RemoveForward(const std::string& remote_socket) override;
  void OnLeaseLost() override;

  // ShimSession::Events
  void OnShimHello(const shim::v1::ShimHello& hello) override;
  void OnTaskStatus(const shim::v1::TaskStatus& status) override;
  void OnTaskRemoved(const std::string& task_id) override;
  void OnSyncDone() override;
  void OnHostFacts(const shim::v1::HostFacts& facts) override;
  void OnHostMetrics(const shim::v1::HostMetricsBatch& batch) override;
  void OnCommandFailed(const shim::v1::CommandFailed& failure) override;
  void OnDrainStatus(const shim::v1::DrainStatus& status) override;
  void OnComponentStatus(const shim::v1::ComponentStatus& status) override;
  void OnUpgradeStatus(const shim::v1::UpgradeStatus& status) override;
  void OnShimSessionEnded(const absl::Status& status) override;

  // Connection (host_connect.cc).
  void Connect();
  void OnConnected(Connected result);
  void OpenSession();
  void RetrySession(const absl::Status& status);
  void OnConnectionFailed(const absl::Status& status, bool is_hopeless);
  void OnBroken(const absl::Status& status);
  void Disconnect();
  void ScheduleConnect(base::Duration delay);
  void MarkUnreachable();
  void GiveUpIfOverdue(const absl::Status& status, bool is_hopeless);
  void RecordHostKey(const std::string& key);
  bool IsLocal() const;
  InstallRequest MakeInstallRequest() const;
  void LoadAgents();
  void ShowMessage(const std::string& message);

  // The instance's row.
  bool UpdateInstance(const InstanceStore::Change& change);
  common::v1::Resources KnownResources() const;
  void StoreFacts();
  void ReloadInstance();
  void Leave();
  void Uninstall();
  void OnLeft(const absl::Status& status);
  void StoreDrain();
  void CarryDrain();
  void Abandon(const std::string& message);
  void MarkTerminated(InstanceTerminationReason reason, const std::string& message);
  bool WasSetUp() const;

  // Jobs.
  void ReloadAll();
  bool ReloadJobs();
  void FenceStrangers();
  void Fence(const shim::v1::TaskStatus& status);
  void DropReleased();
  void Sweep();
  void Finish();

  AgentServices& services_;
  Instance instance_;
  HostConnection connection_;
  std::atomic<bool> is_done_ = false;
  std::atomic<bool> is_ready_ = false;
  std::atomic<bool> is_wake_posted_ = false;
  std::stop_source stop_;

  State state_ = State::kWaiting;
  std::uint64_t attempt_ = 0;  // callbacks of earlier attempts are stale
  std::shared_ptr<HostTransport> transport_;
  std::string shim_socket_;  // on the host
  std::shared_ptr<ShimSession> session_;
  bool has_hello_ = false;
  std::optional<base::MonotonicTime> shim_deadline_;
  base::Backoff connect_backoff_;
  base::Backoff session_backoff_;
  std::optional<base::MonotonicTime> broken_since_;
  std::optional<base::MonotonicTime> leaving_since_;
  bool is_leave_watched_ = false;
  bool has_attempted_ = false;
  std::string last_failure_;
  shim::v1::HostFacts facts_;
  bool has_privileged_ = false;
  // The shim that runs did not answer: the next installation replaces it.
  bool is_takeover_due_ = false;
  HostUpgrade upgrade_;
  // Of the present session: what the host told last, and the wish that was carried to it (absent:
  // the drain is lifted).
  DrainReport drain_report_;
  bool is_drain_carried_ = false;
  std::optional<std::string> carried_drain_;

  UsageMeter usage_;
  // From the host's clock to ours.
  TimePoint::duration clock_offset_{0};

  std::map<std::string, std::shared_ptr<JobDriver>> jobs_;
  // Tasks of the host without a job here.
  std::map<std::string, shim::v1::TaskStatus> strangers_;

  // Last, so that it goes first.
  std::shared_ptr<Mailbox> mailbox_;
  exec::SerialExecutor executor_;
};

}  // namespace dstack::server
