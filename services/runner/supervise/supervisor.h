#pragma once

#include <chrono>
#include <memory>
#include <set>

#include <absl/status/statusor.h>
#include <sys/types.h>

#include "services/runner/control/control.pb.h"

#include "libs/base/clock.h"
#include "libs/base/file.h"
#include "libs/spool/writer.h"
#include "services/runner/loop/event_loop.h"
#include "services/runner/options.h"
#include "services/runner/sshd/daemon.h"
#include "services/runner/state/task_dir.h"
#include "services/runner/supervise/job.h"
#include "services/runner/supervise/job_setup.h"
#include "services/runner/supervise/runner_log.h"
#include "services/runner/supervise/serve_child.h"
#include "services/runner/supervise/status_board.h"

namespace dstack::runner {

// First process of the container: init, parent of the command, of serve and of sshd. One thread.
class Supervisor {
 public:
  // Takes over what an earlier supervisor of the same directory left; its job is then lost or
  // finished, never started again.
  static absl::StatusOr<std::unique_ptr<Supervisor>> Create(const SuperviseOptions& options);
  ~Supervisor();

  // Runs until the server has everything, or nobody came for it. Returns the exit status of the
  // process: that of the command.
  int Run();

 private:
  Supervisor(const SuperviseOptions& options, base::UniqueFd lock);

  absl::Status OpenFiles();
  absl::Status Recover();
  void StartSshd(const PreparedJob& prepared);
  void WatchSignals();
  void TakeEarlyStop();
  void OnSignal(int signal);
  void Reap();
  void OnServeMessage(const control::ToSupervisor& message);
  void StartJob();
  void OnAcked(const v1::LogPosition& position);
  void OnStatus(const v1::JobStatus& status);
  void OnTerminate();
  std::chrono::nanoseconds StopGrace() const;
  void LeaveAfter(std::chrono::milliseconds delay);
  void Leave();
  std::set<pid_t> NotOurs() const;

  const SuperviseOptions options_;
  const TaskDir dir_;
  const base::UniqueFd lock_;
  Surroundings surroundings_;
  base::RealClock clock_;
  EventLoop loop_;
  base::UniqueFd signals_;
  StatusBoard board_;
  std::unique_ptr<RunnerLog> log_;
  std::unique_ptr<spool::Writer> output_;
  std::unique_ptr<ServeChild> serve_;
  std::unique_ptr<SshDaemon> sshd_;
  std::unique_ptr<Job> job_;
  v1::JobSpec spec_;
  EventLoop::TimerId leave_timer_ = EventLoop::kNoTimer;
  bool is_terminating_ = false;
  // The stop was taken from its file; the signal for it has not come.
  bool is_signal_expected_ = false;
  bool is_leaving_ = false;
};

}  // namespace dstack::runner
