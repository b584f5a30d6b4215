#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "dstack/shim/v1/shim_service.pb.h"

#include "libs/base/backoff.h"
#include "services/server/agents/agent_services.h"
#include "services/server/agents/job_reports.h"
#include "services/server/agents/job_usage.h"
#include "services/server/agents/runner_link.h"

namespace dstack::server {

// What a job's driver needs of its host. On the host's executor.
class JobHost {
 public:
  virtual ~JobHost() = default;
  // The shim's session is open and every task has been reported.
  virtual bool IsReady() const = 0;
  virtual HostEpoch epoch() const = 0;
  virtual const HostConnection& connection() const = 0;
  virtual void SendToShim(shim::v1::SessionRequest request) = 0;
  virtual absl::StatusOr<std::string> Forward(const std::string& remote_socket) = 0;
  virtual void RemoveForward(const std::string& remote_socket) = 0;
  // Another replica owns the host now.
  virtual void OnLeaseLost() = 0;
};

// Drives one job that holds blocks of a host until they are given back: submits the task, starts
// the command through the runner, stops and removes it, and writes what the agents report into the
// job's row. What it holds in memory can be lost at any time: a new driver goes on from the row and
// from what the agents report. Belongs to the host's executor.
class JobDriver final : public RunnerLink::Events, public std::enable_shared_from_this<JobDriver> {
 public:
  JobDriver(AgentServices& services,
            JobHost& host,
            exec::TimedExecutor& executor,
            std::shared_ptr<Mailbox> mailbox,
            JobAndRun row);
  ~JobDriver() override;

  // The row was read again.
  void SetRow(JobAndRun row);
  void OnTaskStatus(const shim::v1::TaskStatus& status);
  void OnTaskRemoved();
  void OnCommandFailed(const shim::v1::CommandFailed& failure);
  // What the task uses, measured from outside at that time (our clock).
  void OnTaskMetrics(const shim::v1::TaskMetrics& metrics, TimePoint time);
  // The session is ready; tasks that were not reported are not there.
  void OnSynced();
  void OnSessionLost();
  // The host will never be reached again.
  void Abandon(const std::string& message);
  // Decides and acts. Called after each of the above by the host.
  void Drive();

  const Job& job() const { return job_; }
  // Nothing is left to do.
  bool IsReleased() const { return is_forgotten_ || job_.is_released; }

  void OnRunnerStatus(const runner::v1::JobStatus& status) override;
  void OnJobMetrics(const runner::v1::JobMetrics& metrics) override;
  void OnSshActivity(const runner::v1::SshActivity& activity) override;
  absl::StatusOr<std::string> LoadArchive(const std::string& digest) override;
  void OnJobRefused(const std::string& message) override;
  void OnLogsEnded() override;
  void OnRunnerLinkEnded(const absl::Status& status) override;

 private:
  // Writes what the reports change; false when it could not be written and is tried again later.
  bool Flush();
  bool AwaitsLogEnd();
  void OnFlushFailed(const absl::Status& status);

  void DriveSilent();
  void DriveUnknownTask();
  void DriveLiveTask();
  void DriveEndedTask();
  void DriveStop();
  void DriveStart();
  void LeaveOrFence();

  void Submit();
  void Terminate(std::chrono::milliseconds grace, const std::string& message);
  void Remove();
  void EnsureLink();
  void CloseLink();
  void WatchRunnerStart();
  bool AreLogsOverdue();
  // Nothing more will come: followers are told.
  void EndLogs();
  void EndBy(JobTerminationReason reason, const std::string& message);

  bool MayHaveStarted() const;
  bool IsRunnerFinished() const;
  std::chrono::milliseconds Grace() const {
    return job_.stop_grace.value_or(std::chrono::milliseconds(0));
  }
  base::MonotonicTime Now() const { return services_.clock.MonotonicNow(); }
  // Drive() is called again at that time at the latest.
  void WakeAt(base::MonotonicTime time);
  bool IsDue(const std::optional<base::MonotonicTime>& time);

  AgentServices& services_;
  JobHost& host_;
  exec::TimedExecutor& executor_;
  const std::shared_ptr<Mailbox> mailbox_;
  Job job_;
  Run run_;
  JobReports reports_;
  JobUsage usage_;
  bool is_forgotten_ = false;

  // Of the present session with the shim.
  bool is_submitted_ = false;
  bool is_remove_sent_ = false;
  bool is_kill_sent_ = false;
  std::optional<std::chrono::milliseconds> stop_sent_;

  // Submitted by this driver: nothing of its logs is stored yet.
  bool is_fresh_ = false;
  std::shared_ptr<RunnerLink> link_;
  std::string forwarded_;  // remote socket
  base::Backoff link_backoff_;
  absl::Status link_error_;
  bool is_end_acked_ = false;

  std::optional<base::MonotonicTime> link_retry_at_;
  std::optional<base::MonotonicTime> runner_deadline_;
  std::optional<base::MonotonicTime> stop_deadline_;
  std::optional<base::MonotonicTime> end_deadline_;
  std::optional<base::MonotonicTime> logs_deadline_;
  std::optional<base::MonotonicTime> leave_deadline_;
  std::optional<base::MonotonicTime> flush_at_;
  std::optional<base::MonotonicTime> progress_at_;
  std::optional<base::MonotonicTime> wake_at_;
};

}  // namespace dstack::server
