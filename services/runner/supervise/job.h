#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

#include "dstack/runner/v1/job.pb.h"
#include "services/runner/control/control.pb.h"

#include "libs/base/clock.h"
#include "libs/spool/writer.h"
#include "services/runner/loop/event_loop.h"
#include "services/runner/state/task_dir.h"
#include "services/runner/supervise/job_setup.h"
#include "services/runner/supervise/output_pump.h"
#include "services/runner/supervise/runner_log.h"
#include "services/runner/supervise/status_board.h"
#include "services/runner/usage/oom.h"

namespace dstack::runner {

// The life of the command: one start, its output, its end and that of everything it left behind.
// Lives on the loop's thread.
class Job {
 public:
  // What it uses; all of it outlives the job.
  struct Context {
    EventLoop& loop;
    const base::Clock& clock;
    const TaskDir& dir;
    const Surroundings& surroundings;
    StatusBoard& board;
    RunnerLog& log;
    spool::Writer& output;
    // The job's output got longer.
    std::function<void()> on_appended;
    // Processes that are not the job's, with all below them.
    std::function<std::set<pid_t>()> not_ours;
    // The command runs: what may come after its start.
    std::function<void(const PreparedJob&)> on_started;
  };

  explicit Job(Context context);
  ~Job();

  // Starts the command unless it was started before, in this process or an earlier one. Ends in
  // state RUNNING or FINISHED.
  void Start(const v1::JobSpec& spec);
  // SIGTERM to all processes of the job now, SIGKILL after `grace`. A later call can only make the
  // end come sooner. Before the start: the job ends without one.
  void Stop(std::chrono::nanoseconds grace, v1::FinishReason reason);
  // The command cannot be started.
  void Fail(std::string_view message);
  // Any child process ended. True when it was the command.
  bool OnChildExit(pid_t pid, int wait_status);
  // A helper of ours, not of the job; -1 while there is none.
  pid_t terminal_holder_pid() const { return holder_pid_; }
  // The spool has room again.
  void OnRoom() { pump_.Resume(); }

 private:
  enum class Phase { kIdle, kRunning, kCleaning, kDraining, kDone };

  void FailStart(const absl::Status& cause);
  bool MarkStarted();
  void OnCommandEnded(int wait_status);
  void CleanUp();
  void CleanUpSoon();
  void Drain();
  void Finish();
  bool IsDeaf() const;
  void HangUpShellWhenAlone();
  void KillAt(std::chrono::steady_clock::time_point when);
  void KillRound();
  std::vector<pid_t> Processes() const;
  void AddOomMessage();

  Context c_;
  OutputPump pump_;
  OomCounter oom_;
  Phase phase_ = Phase::kIdle;
  pid_t pid_ = -1;
  pid_t holder_pid_ = -1;
  base::UniqueFd holder_;  // see Launched
  std::unique_ptr<HomeFiles> home_files_;
  control::ExitRecord record_;
  // The command is `<shell> -i ...`.
  bool is_interactive_shell_ = false;
  // What got SIGTERM besides the command itself.
  std::set<pid_t> told_to_end_;
  v1::FinishReason stop_reason_ = v1::FINISH_REASON_UNSPECIFIED;
  std::chrono::steady_clock::time_point kill_at_ = base::kNoDeadline;
  int kill_rounds_ = 0;
  EventLoop::TimerId kill_timer_ = EventLoop::kNoTimer;
  EventLoop::TimerId hang_up_timer_ = EventLoop::kNoTimer;
  EventLoop::TimerId limit_timer_ = EventLoop::kNoTimer;
  EventLoop::TimerId drain_timer_ = EventLoop::kNoTimer;
  EventLoop::TimerId clean_up_timer_ = EventLoop::kNoTimer;
};

}  // namespace dstack::runner
