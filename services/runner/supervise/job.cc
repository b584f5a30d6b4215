#include "services/runner/supervise/job.h"

#include <algorithm>
#include <csignal>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <google/protobuf/util/time_util.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/base/macros.h"
#include "libs/base/status.h"
#include "libs/failpoint/failpoint.h"
#include "services/runner/domain/exit_outcome.h"
#include "services/runner/job/process_tree.h"

namespace dstack::runner {
namespace {

using google::protobuf::util::TimeUtil;

// What is left when the command has ended gets so long between SIGTERM and SIGKILL.
constexpr std::chrono::seconds kLeftoverGrace{2};
// Between two rounds of SIGKILL: processes may have been born while the first one ran.
constexpr std::chrono::milliseconds kKillInterval{50};
// A process that survives so many rounds hangs in the kernel; the job ends without it.
constexpr int kKillRounds = 100;
// From this round on everything in our pid namespace is killed, serve and ssh included: the kernel
// does that in one step, which nothing that forks can outrun.
constexpr int kKillNamespaceRound = 20;
// A fork bomb leaves thousands of orphans; they are not looked for after each.
constexpr std::chrono::milliseconds kCleanUpPause{2};
// All writers are gone by then; the kernel hands over the rest within moments.
constexpr std::chrono::seconds kDrainLimit{1};
constexpr std::chrono::seconds kDefaultStopDuration{10};
constexpr std::chrono::milliseconds kHangUpProbe{20};

std::chrono::nanoseconds ToChrono(const google::protobuf::Duration& duration) {
  // Durations beyond a century would overflow.
  constexpr std::int64_t kLongest = 100LL * 365 * 24 * 3600;
  return std::chrono::seconds(std::min<std::int64_t>(duration.seconds(), kLongest)) +
         std::chrono::nanoseconds(duration.nanos());
}

std::string DescribeEnd(const control::ExitRecord& record) {
  if (record.has_signal()) {
    return fmt::format(
        "the command was ended by signal {} ({})",
        record.signal(),
        sigabbrev_np(record.signal()) != nullptr ? sigabbrev_np(record.signal()) : "unknown");
  }
  return fmt::format("the command ended with exit status {}", record.exit_status());
}

}  // namespace

Job::Job(Context context)
    : c_(std::move(context)), pump_(c_.loop, c_.clock, c_.output, c_.on_appended, [this] {
        if (phase_ == Phase::kDraining) Finish();
      }) {}

Job::~Job() {
  c_.loop.Cancel(&kill_timer_);
  c_.loop.Cancel(&hang_up_timer_);
  c_.loop.Cancel(&limit_timer_);
  c_.loop.Cancel(&drain_timer_);
  c_.loop.Cancel(&clean_up_timer_);
}

void Job::Start(const v1::JobSpec& spec) {
  if (phase_ != Phase::kIdle || c_.board.state() != v1::JOB_STATE_PREPARING) return;
  auto prepared = PrepareJob(spec, c_.dir, c_.surroundings, c_.log);
  if (!prepared.ok()) return FailStart(prepared.status());
  FAILPOINT("runner.before_started");
  if (!MarkStarted()) return;
  FAILPOINT("runner.before_exec");
  oom_ = OomCounter::Read();
  auto launched = Launch(prepared->launch);
  if (!launched.ok()) return FailStart(launched.status());
  FAILPOINT("runner.after_exec");
  phase_ = Phase::kRunning;
  home_files_ = std::move(prepared->home_files);
  is_interactive_shell_ = spec.command_size() > 2 && spec.command(1) == "-i";
  pid_ = launched->pid;
  holder_pid_ = launched->holder_pid;
  holder_ = std::move(launched->holder);
  if (!launched->is_terminal) c_.log.Line("no terminal could be opened, output goes to a pipe");
  pump_.Start(std::move(launched->output));
  if (spec.has_max_duration()) {
    const auto grace = spec.has_stop_duration() ? ToChrono(spec.stop_duration())
                                                : std::chrono::nanoseconds(kDefaultStopDuration);
    limit_timer_ = c_.loop.After(ToChrono(spec.max_duration()), [this, grace] {
      c_.log.Line("max_duration is over");
      Stop(grace, v1::FINISH_REASON_MAX_DURATION_EXCEEDED);
    });
  }
  // The edge exists: the state was checked above.
  c_.board
      .Apply(JobEvent::kStart,
             [&](v1::JobStatus* status) {
               status->set_pid(pid_);
               status->set_working_dir(prepared->launch.working_dir);
               status->set_username(prepared->user.name);
             })
      .IgnoreError();
  c_.on_started(*prepared);
}

// False: it was started before, by a supervisor that is gone.
bool Job::MarkStarted() {
  base::UniqueFd file(
      open(c_.dir.Started().c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  absl::Status written = absl::OkStatus();
  if (!file || fsync(file.get()) != 0) {
    written = base::ErrnoError(errno, c_.dir.Started());
  } else {
    written = base::SyncDir(c_.dir.root());
  }
  if (!written.ok()) {
    FailStart(base::Annotate(written, "the command is not started, it may have been before"));
  }
  return written.ok();
}

void Job::Fail(std::string_view message) {
  if (c_.board.state() == v1::JOB_STATE_PREPARING) FailStart(base::Internal(message));
}

void Job::FailStart(const absl::Status& cause) {
  phase_ = Phase::kDone;
  record_.set_reason(v1::FINISH_REASON_EXECUTOR_ERROR);
  record_.set_message(std::string(base::Message(cause)));
  if (cause.code() == absl::StatusCode::kNotFound) record_.set_exit_status(kExitNotFound);
  if (cause.code() == absl::StatusCode::kPermissionDenied) {
    record_.set_exit_status(kExitNotExecutable);
  }
  *record_.mutable_time() = TimeUtil::GetCurrentTime();
  SaveProto(c_.dir.Exit(), record_).IgnoreError();
  c_.log.Line(record_.message());
  c_.log.Close();
  c_.board.Apply(JobEvent::kFail, [&](v1::JobStatus* status) { FillFinished(record_, status); })
      .IgnoreError();
}

void Job::Stop(std::chrono::nanoseconds grace, v1::FinishReason reason) {
  const v1::JobState state = c_.board.state();
  if (state == v1::JOB_STATE_WAITING || state == v1::JOB_STATE_PREPARING) {
    phase_ = Phase::kDone;
    record_.set_reason(reason);
    record_.set_message("stopped before the command was started");
    c_.log.Line(record_.message());
    c_.log.Close();
    c_.board.Apply(JobEvent::kAbandon, [&](v1::JobStatus* s) { FillFinished(record_, s); })
        .IgnoreError();
    return;
  }
  if (phase_ != Phase::kRunning && phase_ != Phase::kCleaning) return;
  if (state == v1::JOB_STATE_RUNNING && phase_ == Phase::kRunning) {
    stop_reason_ = reason;
    c_.log.Line(fmt::format("stopping: SIGTERM now, SIGKILL in {:.1f} s",
                            std::chrono::duration<double>(grace).count()));
    const std::vector<pid_t> processes = Processes();
    const bool is_deaf_shell = is_interactive_shell_ && IsDeaf();
    SignalAll(processes, SIGTERM);
    SignalAll(processes, SIGCONT);
    c_.board.Apply(JobEvent::kStop).IgnoreError();
    if (is_deaf_shell) {
      told_to_end_ = {processes.begin(), processes.end()};
      told_to_end_.erase(pid_);
      HangUpShellWhenAlone();
    }
  }
  KillAt(base::DeadlineAfter(std::chrono::steady_clock::now(), grace));
}

// To SIGTERM. A shell with a trap for it is not: it ends in its own way, perhaps with last words.
bool Job::IsDeaf() const {
  const auto status = base::ReadFile(fmt::format("/proc/{}/status", pid_));
  return status.ok() && IgnoresSignal(*status, SIGTERM);
}

// An interactive shell ignores SIGTERM: a loop in it would go on with the next command until the
// grace is over. Once the commands that ran at the stop have ended, each in its own time, nothing
// of theirs is cut short by ending it. A poll: nobody tells of the end of another process's child.
void Job::HangUpShellWhenAlone() {
  if (phase_ != Phase::kRunning) return;
  for (const pid_t pid : Processes()) {
    if (!told_to_end_.contains(pid)) continue;
    hang_up_timer_ = c_.loop.After(kHangUpProbe, [this] { HangUpShellWhenAlone(); });
    return;
  }
  SignalAll({pid_}, SIGHUP);
}

void Job::KillAt(std::chrono::steady_clock::time_point when) {
  if (when >= kill_at_) return;
  kill_at_ = when;
  c_.loop.Cancel(&kill_timer_);
  kill_timer_ = c_.loop.After(std::max(when - std::chrono::steady_clock::now(),
                                       std::chrono::steady_clock::duration::zero()),
                              [this] { KillRound(); });
}

void Job::KillRound() {
  const std::size_t killed = KillTree(getpid(), c_.not_ours());
  if (killed == 0 && phase_ == Phase::kCleaning) CleanUp();
  if (phase_ != Phase::kRunning && phase_ != Phase::kCleaning) return;
  if (++kill_rounds_ == 1) c_.log.Line(fmt::format("SIGKILL to {} processes", killed));
  if (kill_rounds_ >= kKillNamespaceRound && getpid() == 1) kill(-1, SIGKILL);
  if (kill_rounds_ >= kKillRounds && phase_ == Phase::kCleaning) {
    c_.log.Line(fmt::format("{} processes do not die", killed));
    return Drain();
  }
  kill_timer_ = c_.loop.After(kKillInterval, [this] { KillRound(); });
}

bool Job::OnChildExit(pid_t pid, int wait_status) {
  if (pid == pid_ && phase_ == Phase::kRunning) {
    OnCommandEnded(wait_status);
    return true;
  }
  // A process of the job whose parent has gone; it may have been the last one.
  if (phase_ == Phase::kCleaning) CleanUpSoon();
  return false;
}

void Job::OnCommandEnded(int wait_status) {
  c_.loop.Cancel(&limit_timer_);
  record_.set_reason(stop_reason_ == v1::FINISH_REASON_UNSPECIFIED ? v1::FINISH_REASON_EXITED
                                                                   : stop_reason_);
  SetWaitStatus(wait_status, &record_);
  *record_.mutable_time() = TimeUtil::GetCurrentTime();
  AddOomMessage();
  // Once the end is recorded a crash of ours is not a loss of the job, so its output comes first.
  pump_.PullNow();
  FAILPOINT("runner.before_exit_record");
  // On a full disk too.
  c_.log.writer().ReleaseReserve();
  // Before anybody is told: the end must not be forgotten once it was seen.
  const absl::Status saved = SaveProto(c_.dir.Exit(), record_);
  if (!saved.ok()) c_.log.Line(fmt::format("exit not recorded: {}", base::Message(saved)));
  FAILPOINT("runner.after_exit_record");
  c_.log.Line(DescribeEnd(record_));
  if (!record_.message().empty()) c_.log.Line(record_.message());
  phase_ = Phase::kCleaning;
  if (const std::vector<pid_t> left = Processes(); !left.empty()) {
    c_.log.Line(fmt::format("ending {} processes that the command left behind", left.size()));
    SignalAll(left, SIGTERM);
    SignalAll(left, SIGCONT);
    KillAt(std::chrono::steady_clock::now() + kLeftoverGrace);
  }
  CleanUp();
}

void Job::CleanUpSoon() {
  if (clean_up_timer_ != EventLoop::kNoTimer) return;
  clean_up_timer_ = c_.loop.After(kCleanUpPause, [this] {
    clean_up_timer_ = EventLoop::kNoTimer;
    if (phase_ == Phase::kCleaning) CleanUp();
  });
}

void Job::CleanUp() {
  if (Processes().empty()) {
    Drain();
  } else if (kill_at_ == base::kNoDeadline) {
    KillAt(std::chrono::steady_clock::now() + kLeftoverGrace);
  }
}

void Job::Drain() {
  c_.loop.Cancel(&kill_timer_);
  phase_ = Phase::kDraining;
  if (!pump_.has_ended()) pump_.FinishSoon();
  if (pump_.has_ended()) {
    if (phase_ == Phase::kDraining) Finish();
    return;
  }
  drain_timer_ = c_.loop.After(kDrainLimit, [this] { Finish(); });
}

void Job::Finish() {
  if (phase_ == Phase::kDone) return;
  phase_ = Phase::kDone;
  c_.loop.Cancel(&drain_timer_);
  home_files_.reset();
  pump_.Close();
  holder_.reset();
  c_.log.Close();
  c_.board.Apply(JobEvent::kExit, [&](v1::JobStatus* status) { FillFinished(record_, status); })
      .IgnoreError();
}

std::vector<pid_t> Job::Processes() const { return FindJobProcesses(getpid(), c_.not_ours()); }

void Job::AddOomMessage() {
  const OomCounter now = OomCounter::Read();
  if (now.kills > oom_.kills) {
    record_.set_message(DescribeOom(record_, now.kills - oom_.kills, now.limit_bytes));
  }
}

}  // namespace dstack::runner
