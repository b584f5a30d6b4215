// Stays with a run from its submission to its end: status, log, Ctrl-C, exit code.
#pragma once

#include <chrono>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "dstack/api/v1/run.pb.h"

#include "clients/cli/follow/log_follower.h"
#include "clients/cli/follow/reconnect.h"
#include "clients/cli/follow/status_line.h"
#include "clients/cli/follow/stopper.h"
#include "clients/cli/session/connection.h"
#include "clients/cli/session/interrupts.h"
#include "clients/cli/session/terminal.h"
#include "libs/base/mutex.h"
#include "libs/base/random.h"

namespace dstack::cli {

struct RunSessionOptions {
  // Ctrl-C leaves at once, without a question.
  bool leaves_on_interrupt = false;
  ReconnectPolicy reconnect;
  // How long the log of a run that has ended may be silent before it is left incomplete.
  std::chrono::milliseconds log_silence_limit = std::chrono::seconds(30);
};

// The log of replica 0, job 0 goes to standard output byte for byte as soon as it exists, attempt
// after attempt; everything for people goes to standard error. One thread reads the log, one
// watches the run, and the thread of Wait does the rest.
class RunSession {
 public:
  // The references outlive the object.
  RunSession(Connection& connection,
             Terminal& terminal,
             Interrupts& interrupts,
             const RunSessionOptions& options);
  ~RunSession();
  RunSession(const RunSession&) = delete;
  RunSession& operator=(const RunSession&) = delete;

  // Once per object. Returns the exit code of the program: that of the run, or 0 when the person
  // left or stopped the run. An error: the run cannot be followed any more; it goes on by itself.
  absl::StatusOr<int> Wait(const api::v1::Run& run);

 private:
  enum class Stage { kFollowing, kStopping, kAborting };

  // What the other threads have to tell.
  struct News {
    std::optional<api::v1::Run> run;
    std::optional<absl::Status> watch_end;
    std::optional<absl::Status> log_end;
    std::deque<std::string> notices;
  };

  void StopThreads();
  // Thread of the log.
  void FollowLogs();
  bool NextSubmission(std::string* submission_id);
  absl::Status WriteLog(std::string_view bytes);
  // Thread of the watch.
  void Watch();
  ReconnectListener Listener();
  // Any thread.
  void PostNotice(std::string text);

  // Main thread.
  void TakeNews();
  void TakeRun(const api::v1::Run& run);
  void QueueNewSubmissions();
  void ShowProgress();
  void ShowStart();
  bool IsLogDone();
  bool IsLogSilent();
  std::optional<int> Finish();
  int ReportOutcome();
  std::optional<int> OnInterrupt();
  Answer AskWhetherToStop();
  void Stop(Stage stage);
  int Detach();

  Connection& connection_;
  Terminal& terminal_;
  Interrupts& interrupts_;
  const RunSessionOptions options_;
  base::RealClock clock_;
  base::SeededRandom random_;
  StatusLine status_line_;
  Stopper stopper_;

  // Fixed before the threads start.
  std::string run_id_;
  std::string run_name_;

  // Main thread only.
  api::v1::Run run_;
  Stage stage_ = Stage::kFollowing;
  bool has_shown_start_ = false;
  std::optional<absl::Status> watch_end_;
  std::optional<absl::Status> log_end_;
  std::string last_submission_id_;
  base::MonotonicTime final_since_;

  // Held while bytes of the job are written, and while a question is on the screen: the job's
  // output waits for the answer.
  base::Mutex output_mutex_;

  base::Mutex mutex_;
  base::CondVar submissions_changed_;
  News news_ GUARDED_BY(mutex_);
  std::deque<std::string> submissions_ GUARDED_BY(mutex_);
  bool is_reading_ GUARDED_BY(mutex_) = false;
  bool is_log_closed_ GUARDED_BY(mutex_) = false;
  bool has_output_ GUARDED_BY(mutex_) = false;
  base::MonotonicTime last_output_ GUARDED_BY(mutex_);

  // Last, so that they end before what they use.
  std::thread log_thread_;
  std::thread watch_thread_;
};

}  // namespace dstack::cli
