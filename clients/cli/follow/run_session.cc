#include "clients/cli/follow/run_session.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "clients/cli/follow/outcome.h"
#include "clients/cli/follow/run_watcher.h"
#include "clients/cli/render/run_table.h"
#include "clients/cli/render/text.h"
#include "libs/base/status.h"
#include "libs/base/uuid.h"

namespace dstack::cli {
namespace {

constexpr std::chrono::milliseconds kSpinnerStep{100};
constexpr std::chrono::milliseconds kIdleStep{1000};

bool HasStarted(api::v1::RunStatus status) {
  return status == api::v1::RUN_STATUS_RUNNING || IsFinal(status);
}

}  // namespace

RunSession::RunSession(Connection& connection,
                       Terminal& terminal,
                       Interrupts& interrupts,
                       const RunSessionOptions& options)
    : connection_(connection),
      terminal_(terminal),
      interrupts_(interrupts),
      options_(options),
      status_line_(terminal) {}

RunSession::~RunSession() { StopThreads(); }

absl::StatusOr<int> RunSession::Wait(const api::v1::Run& run) {
  terminal_.ReserveOutput();
  interrupts_.Collect(true);
  run_id_ = run.id();
  run_name_ = run.spec().run_name();
  TakeRun(run);
  log_thread_ = std::thread([this] { FollowLogs(); });
  watch_thread_ = std::thread([this] { Watch(); });
  while (true) {
    if (const auto code = Finish(); code.has_value()) return *code;
    if (watch_end_.has_value() && !watch_end_->ok()) return *watch_end_;
    const bool has_spinner = terminal_.is_error_tty() && !has_shown_start_;
    if (interrupts_.Wait(has_spinner ? kSpinnerStep : kIdleStep) == Interrupts::Woken::kInterrupt) {
      if (const auto code = OnInterrupt(); code.has_value()) return *code;
    }
    status_line_.Tick();
    TakeNews();
  }
}

void RunSession::StopThreads() {
  stopper_.Stop();
  {
    base::MutexLock lock(mutex_);
    is_log_closed_ = true;
    submissions_changed_.NotifyAll();
  }
  if (log_thread_.joinable()) log_thread_.join();
  if (watch_thread_.joinable()) watch_thread_.join();
}

void RunSession::FollowLogs() {
  // The watch tells about the connection; twice would be too much.
  Reconnect reconnect(options_.reconnect, {}, clock_, random_);
  const LogSink sink{
      .on_bytes = [this](std::string_view bytes) { return WriteLog(bytes); },
      .on_gap =
          [this](uint64_t bytes) {
            PostNotice(bytes > 0 ? fmt::format("{} bytes of output were dropped here", bytes)
                                 : std::string("Some output before this is no longer stored"));
          }};
  LogFollower follower(connection_, sink, reconnect, stopper_);
  api::v1::StreamLogsRequest request;
  request.set_project_name(connection_.project());
  request.set_run_name(run_name_);
  request.set_follow(true);
  while (NextSubmission(request.mutable_job_submission_id())) {
    const absl::Status status = follower.Follow(request);
    if (status.ok()) continue;
    base::MutexLock lock(mutex_);
    is_reading_ = false;
    is_log_closed_ = true;
    news_.log_end = status;
    interrupts_.Ring();
    return;
  }
}

bool RunSession::NextSubmission(std::string* submission_id) {
  base::MutexLock lock(mutex_);
  is_reading_ = false;
  interrupts_.Ring();
  while (submissions_.empty() && !is_log_closed_) submissions_changed_.Wait(mutex_);
  if (is_log_closed_) return false;
  *submission_id = std::move(submissions_.front());
  submissions_.pop_front();
  is_reading_ = true;
  return true;
}

absl::Status RunSession::WriteLog(std::string_view bytes) {
  status_line_.Close();
  {
    base::MutexLock lock(mutex_);
    has_output_ = true;
    last_output_ = clock_.MonotonicNow();
  }
  base::MutexLock lock(output_mutex_);
  return terminal_.Write(bytes, stopper_.stop_fd());
}

void RunSession::Watch() {
  Reconnect reconnect(options_.reconnect, Listener(), clock_, random_);
  const auto on_run = [this](api::v1::Run run) {
    base::MutexLock lock(mutex_);
    news_.run = std::move(run);
    interrupts_.Ring();
  };
  const absl::Status status = WatchRun(connection_, run_id_, on_run, reconnect, stopper_);
  base::MutexLock lock(mutex_);
  news_.watch_end = status;
  interrupts_.Ring();
}

ReconnectListener RunSession::Listener() {
  return {
      .on_lost =
          [this](const absl::Status& status) {
            PostNotice(fmt::format("{}. The run goes on; trying again...", base::Message(status)));
          },
      .on_restored = [this] { PostNotice("Connected again"); },
      .wait_until_connected =
          [this](std::chrono::milliseconds timeout) {
            return connection_.WaitUntilConnected(timeout);
          }};
}

void RunSession::PostNotice(std::string text) {
  base::MutexLock lock(mutex_);
  news_.notices.push_back(std::move(text));
  interrupts_.Ring();
}

void RunSession::TakeNews() {
  News news;
  {
    base::MutexLock lock(mutex_);
    news = std::exchange(news_, News());
  }
  for (const std::string& notice : news.notices) {
    status_line_.Hide();
    terminal_.PrintWarning(notice);
  }
  if (news.log_end.has_value() && !log_end_.has_value()) log_end_ = std::move(news.log_end);
  if (news.watch_end.has_value()) watch_end_ = std::move(news.watch_end);
  if (news.run.has_value()) TakeRun(*news.run);
}

void RunSession::TakeRun(const api::v1::Run& run) {
  if (!IsFinal(run_.status()) && IsFinal(run.status())) final_since_ = clock_.MonotonicNow();
  run_ = run;
  QueueNewSubmissions();
  ShowProgress();
}

void RunSession::QueueNewSubmissions() {
  const api::v1::Job* job = FindJob(run_, 0, 0);
  if (job == nullptr) return;
  base::MutexLock lock(mutex_);
  bool is_new = last_submission_id_.empty();
  for (const auto& submission : job->submissions()) {
    if (is_new) submissions_.push_back(submission.id());
    is_new = is_new || submission.id() == last_submission_id_;
  }
  if (const auto* latest = LatestSubmission(*job)) last_submission_id_ = latest->id();
  submissions_changed_.NotifyAll();
}

void RunSession::ShowProgress() {
  if (stage_ != Stage::kFollowing) {
    status_line_.Show(stage_ == Stage::kStopping ? "Stopping..." : "Aborting...");
  } else if (!HasStarted(run_.status())) {
    status_line_.Show(fmt::format("Launching {}... {}", run_name_, RunStatusText(run_)));
  } else if (!std::exchange(has_shown_start_, true)) {
    status_line_.Hide();
    ShowStart();
  }
}

void RunSession::ShowStart() {
  {
    // Once the output is on the screen a table would tear it apart.
    base::MutexLock lock(mutex_);
    if (has_output_) return;
  }
  base::MutexLock lock(output_mutex_);
  terminal_.PrintTable(RunTable({run_}, {.has_clock_times = true, .now = clock_.Now()}));
  terminal_.PrintLine(fmt::format(
      "{} provisioning completed ({})", Neutralise(run_name_), Neutralise(RunStatusText(run_))));
}

bool RunSession::IsLogDone() {
  base::MutexLock lock(mutex_);
  return is_log_closed_ || (submissions_.empty() && !is_reading_);
}

bool RunSession::IsLogSilent() {
  base::MutexLock lock(mutex_);
  const auto silent_since = std::max(last_output_, final_since_);
  return clock_.MonotonicNow() - silent_since >= options_.log_silence_limit;
}

std::optional<int> RunSession::Finish() {
  if (!IsFinal(run_.status())) return std::nullopt;
  if (!IsLogDone()) {
    if (!IsLogSilent()) return std::nullopt;
    log_end_ = absl::DeadlineExceededError("its end did not arrive");
  }
  StopThreads();
  // What the threads said last.
  TakeNews();
  status_line_.Close();
  if (log_end_.has_value()) {
    terminal_.PrintWarning(fmt::format("The log is incomplete: {}. `dstack logs {}` shows all",
                                       base::Message(*log_end_),
                                       run_name_));
  }
  return ReportOutcome();
}

int RunSession::ReportOutcome() {
  if (stage_ != Stage::kFollowing) {
    terminal_.PrintLine(stage_ == Stage::kStopping ? "Stopped" : "Aborted");
    return 0;
  }
  const bool is_done = run_.status() == api::v1::RUN_STATUS_DONE;
  terminal_.PrintLine(OutcomeText(run_), is_done ? Style::kSecondary : Style::kError);
  if (HasDiagnostics(run_)) {
    terminal_.PrintLine(fmt::format("Run `dstack logs -d {}` for diagnostics", run_name_));
  }
  return ExitCode(run_);
}

std::optional<int> RunSession::OnInterrupt() {
  switch (stage_) {
    case Stage::kFollowing:
      break;
    case Stage::kStopping:
      Stop(Stage::kAborting);
      return std::nullopt;
    case Stage::kAborting:
      return Detach();
  }
  if (options_.leaves_on_interrupt || !terminal_.can_ask()) return Detach();
  switch (AskWhetherToStop()) {
    case Answer::kYes:
      Stop(Stage::kStopping);
      return std::nullopt;
    case Answer::kInterrupted:
      Stop(Stage::kAborting);
      return std::nullopt;
    case Answer::kNo:
      break;
  }
  return Detach();
}

Answer RunSession::AskWhetherToStop() {
  base::MutexLock lock(output_mutex_);
  status_line_.Hide();
  terminal_.PrintLine("");
  return terminal_.Ask("Stop the run before detaching?", interrupts_);
}

void RunSession::Stop(Stage stage) {
  api::v1::StopRunsRequest request;
  request.set_project_name(connection_.project());
  request.add_run_names(run_name_);
  request.set_is_abort(stage == Stage::kAborting);
  request.set_request_id(base::NewUuid());
  const auto response =
      connection_.Call(connection_.runs(), &api::v1::RunService::Stub::StopRuns, request);
  if (!response.ok()) {
    terminal_.PrintError(base::Message(response.status()));
    return;
  }
  stage_ = stage;
  ShowProgress();
}

int RunSession::Detach() {
  StopThreads();
  status_line_.Close();
  terminal_.PrintLine(fmt::format(
      "Detached. Run {0} goes on: `dstack logs {0}` shows its output, `dstack stop {0}` stops it",
      run_name_));
  return 0;
}

}  // namespace dstack::cli
