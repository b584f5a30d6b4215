#pragma once

#include <atomic>
#include <functional>
#include <memory>

#include "dstack/shim/v1/host.pb.h"
#include "dstack/shim/v1/shim_service.pb.h"

#include "libs/base/clock.h"
#include "libs/exec/executor.h"
#include "services/shim/api/drain_store.h"
#include "services/shim/api/identity_store.h"
#include "services/shim/api/session.h"
#include "services/shim/host/metrics_log.h"
#include "services/shim/pipeline/status_board.h"
#include "services/shim/pipeline/task_table.h"
#include "services/shim/update/upgrader.h"

namespace dstack::shim {

// Where the hub learns about the host. The functions are called on the hub's executor and may block
// for some milliseconds.
struct HostSource {
  v1::Capabilities runtime;  // those of the container runtime
  std::function<v1::HostFacts()> facts;
  std::function<v1::HostMetrics()> metrics;
};

// Grants the host to one server session at a time and carries out its commands. Its state lives on
// one serial executor.
class SessionHub final : public SessionHandler {
 public:
  // All outlive this object; `executor` is serial and must have run dry before the end.
  SessionHub(IdentityStore& identity,
             TaskTable& table,
             StatusBoard& board,
             DrainStore& drain,
             Upgrader& upgrader,
             HostSource host,
             exec::TimedExecutor& executor);

  // Begins with metrics, heartbeats and the watch over the facts.
  void Start();
  // Ends the session with UNAVAILABLE/SHUTTING_DOWN, and refuses further ones.
  void Stop();

  // SessionHandler
  void OnRequest(const std::shared_ptr<Session>& session, v1::SessionRequest request) override;
  void OnEnded(const std::shared_ptr<Session>& session) override;

  // A task changed or went; any thread.
  void OnTasksChanged();
  // The drain was changed by hand; any thread.
  void OnDrainChanged();
  // Tells the server, if one is there; any thread.
  void Announce(v1::SessionResponse message);
  // Looks at the facts now instead of later; any thread.
  void RefreshFacts();

  // For the debug calls; any thread.
  std::uint64_t epoch() const { return epoch_; }
  bool has_session() const { return has_session_; }
  const std::string& shim_id() const { return shim_id_; }

 private:
  void Handle(const std::shared_ptr<Session>& session, const v1::SessionRequest& request);
  void Greet(const std::shared_ptr<Session>& session, const v1::ServerHello& hello);
  void Replace(const std::shared_ptr<Session>& session);
  void Submit(const std::shared_ptr<Session>& session, const v1::SubmitTaskCommand& command);
  void Terminate(const std::shared_ptr<Session>& session, const v1::TerminateTaskCommand& command);
  void Remove(const std::shared_ptr<Session>& session, const v1::RemoveTaskCommand& command);
  void Drain(const std::shared_ptr<Session>& session, const v1::DrainCommand& command);
  void Receive(const std::shared_ptr<Session>& session, const v1::ComponentChunk& chunk);
  void Activate(const std::shared_ptr<Session>& session, const v1::ActivateCommand& command);
  void TellDrain();
  void TellUpgrade(const std::shared_ptr<Session>& session);
  void CompareFacts();
  void Drop(const std::shared_ptr<Session>& session);
  void Beat();
  void Measure();
  void SendMetrics();
  void CheckFacts();

  IdentityStore& identity_;
  TaskTable& table_;
  StatusBoard& board_;
  DrainStore& drain_;
  Upgrader& upgrader_;
  const HostSource host_;
  exec::TimedExecutor& executor_;
  const std::string shim_id_;

  // Only on executor_.
  std::shared_ptr<Session> current_;
  v1::HostFacts facts_;
  bool is_stopped_ = false;
  MetricsLog samples_;
  std::uint64_t samples_taken_ = 0;
  bool wants_batches_ = false;
  v1::DrainStatus told_drain_;

  std::atomic<std::uint64_t> epoch_;
  std::atomic<bool> has_session_ = false;
  std::atomic<bool> is_drain_check_posted_ = false;
};

// Reads the grace of a stop policy; absent: zero. INVALID_FIELDS below zero and above one day.
absl::StatusOr<StopRequest> ToStopRequest(const v1::StopPolicy& policy, const std::string& message);

}  // namespace dstack::shim
