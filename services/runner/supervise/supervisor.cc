#include "services/runner/supervise/supervisor.h"

#include <csignal>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include <absl/strings/numbers.h>
#include <absl/strings/strip.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libs/base/macros.h"
#include "libs/base/status.h"
#include "libs/base/version.h"
#include "libs/telemetry/log.h"
#include "services/runner/domain/exit_outcome.h"
#include "services/runner/job/process_tree.h"
#include "services/runner/supervise/early_signals.h"

extern char** environ;

namespace dstack::runner {
namespace {

constexpr char kContainerSharedDir[] = "/dstack";
constexpr std::uint64_t kRunnerLogBytes = 4ULL << 20;
// Everything is in the spool; the shim delivers it when nobody came until then.
constexpr std::chrono::minutes kLinger{10};
// After a stop by signal somebody waits for this process to end.
constexpr std::chrono::milliseconds kLingerTerminated{1000};
constexpr std::chrono::milliseconds kServeLeaves{1000};
constexpr std::chrono::seconds kDefaultStopGrace{10};

Surroundings Survey(const SuperviseOptions& options) {
  Surroundings result;
  std::vector<std::string> entries;
  for (char** entry = environ; *entry != nullptr; ++entry) entries.emplace_back(*entry);
  result.environment = ParseEnvironment(entries);
  result.environment.erase("DSTACK_FAILPOINTS");
  std::error_code error;
  result.initial_dir = std::filesystem::current_path(error).string();
  if (error) result.initial_dir = "/";
  result.is_container = options.serving.task_dir == kContainerTaskDir;
  if (options.ssh_port != 0) result.ssh_port = options.ssh_port;
  result.shared_dir = options.shared_dir;
  if (result.shared_dir.empty()) {
    result.shared_dir = result.is_container ? kContainerSharedDir : options.serving.task_dir;
  }
  return result;
}

std::vector<std::string> ServeArgs(const SuperviseOptions& options, const Surroundings& where) {
  std::vector<std::string> args = {"--task-dir",
                                   options.serving.task_dir,
                                   "--initial-dir",
                                   where.initial_dir,
                                   "--shared-dir",
                                   where.shared_dir};
  if (!options.ssh_dir.empty()) args.insert(args.end(), {"--ssh-dir", options.ssh_dir});
  if (options.serving.socket_owner) {
    args.emplace_back("--socket-owner");
    args.push_back(
        fmt::format("{}:{}", options.serving.socket_owner->uid, options.serving.socket_owner->gid));
  }
  return args;
}

}  // namespace

Supervisor::Supervisor(const SuperviseOptions& options, base::UniqueFd lock)
    : options_(options),
      dir_(options.serving.task_dir),
      lock_(std::move(lock)),
      surroundings_(Survey(options)),
      board_(dir_, clock_) {}

Supervisor::~Supervisor() = default;

absl::StatusOr<std::unique_ptr<Supervisor>> Supervisor::Create(const SuperviseOptions& options) {
  const TaskDir dir(options.serving.task_dir);
  ASSIGN_OR_RETURN(base::UniqueFd lock, LockFile(dir.SupervisorLock(), 0));
  if (!base::Exists(dir.Token())) {
    return base::Error(absl::StatusCode::kFailedPrecondition,
                       "INVALID_STATE",
                       fmt::format("{} is missing: nobody could talk to this runner", dir.Token()));
  }
  std::unique_ptr<Supervisor> supervisor(new Supervisor(options, std::move(lock)));
  RETURN_IF_ERROR(supervisor->OpenFiles());
  RETURN_IF_ERROR(supervisor->Recover());
  return supervisor;
}

absl::Status Supervisor::OpenFiles() {
  RETURN_IF_ERROR(base::MakeDirs(dir_.Spools(), 0700));
  RETURN_IF_ERROR(base::MakeDirs(dir_.Files(), 0700));
  ASSIGN_OR_RETURN(output_,
                   spool::Writer::Open({.dir = dir_.Spool(common::v1::LOG_SOURCE_JOB),
                                        .max_bytes = options_.log_spool_bytes,
                                        .overflow = options_.log_overflow}));
  ASSIGN_OR_RETURN(log_,
                   RunnerLog::Open({.dir = dir_.Spool(common::v1::LOG_SOURCE_RUNNER),
                                    .max_bytes = kRunnerLogBytes,
                                    .overflow = spool::OverflowPolicy::kDrop},
                                   clock_,
                                   [this] { serve_->NotifyAppended(); }));
  serve_ = std::make_unique<ServeChild>(
      loop_, ServeArgs(options_, surroundings_), [this](const control::ToSupervisor& message) {
        OnServeMessage(message);
      });
  sshd_ = std::make_unique<SshDaemon>(
      loop_,
      SshDaemon::Settings{.bundle_dir = options_.ssh_dir,
                          .state_dir = surroundings_.shared_dir + "/sshd",
                          .private_dir = dir_.root() + "/sshd",
                          .authorized_keys = options_.ssh_authorized_keys.empty()
                                                 ? dir_.AuthorizedKeys()
                                                 : options_.ssh_authorized_keys,
                          .port = options_.ssh_port,
                          .may_change_system = surroundings_.is_container},
      *log_,
      [this](std::uint16_t port, const std::string& host_key) {
        if (board_.state() == v1::JOB_STATE_FINISHED) return;
        board_.Update([&](v1::JobStatus* status) {
          status->set_ssh_port(port);
          status->set_ssh_host_key(host_key);
        });
      });
  job_ = std::make_unique<Job>(Job::Context{.loop = loop_,
                                            .clock = clock_,
                                            .dir = dir_,
                                            .surroundings = surroundings_,
                                            .board = board_,
                                            .log = *log_,
                                            .output = *output_,
                                            .on_appended = [this] { serve_->NotifyAppended(); },
                                            .not_ours = [this] { return NotOurs(); },
                                            .on_started =
                                                [this](const PreparedJob& prepared) {
                                                  WriteLoginProfile(prepared, surroundings_, *log_);
                                                  StartSshd(prepared);
                                                }});
  return absl::OkStatus();
}

void Supervisor::StartSshd(const PreparedJob& prepared) {
  SshDaemon::Access access{.user = prepared.user,
                           .environment = prepared.environment,
                           .host_private_key = spec_.ssh_host_private_key(),
                           .authorized_keys = ""};
  if (!spec_.cluster().ssh_public_key().empty()) {
    access.authorized_keys = spec_.cluster().ssh_public_key() + "\n";
  }
  sshd_->Start(std::move(access));
}

// Whatever an earlier supervisor did, the command is not started a second time.
absl::Status Supervisor::Recover() {
  RETURN_IF_ERROR(board_.Load());
  RETURN_IF_ERROR(LoadProto(dir_.Job(), &spec_).status());
  board_.SetListener([this](const v1::JobStatus& status) { OnStatus(status); });
  if (board_.state() == v1::JOB_STATE_FINISHED || !base::Exists(dir_.Started())) {
    return absl::OkStatus();
  }
  control::ExitRecord record;
  ASSIGN_OR_RETURN(const bool has_exit, LoadProto(dir_.Exit(), &record));
  if (has_exit) {
    return board_.Apply(JobEvent::kExit, [&](v1::JobStatus* s) { FillFinished(record, s); });
  }
  record.set_reason(v1::FINISH_REASON_LOST);
  record.set_message("the runner ended before the command's end was seen");
  log_->Line(record.message());
  log_->Close();
  return board_.Apply(JobEvent::kLose, [&](v1::JobStatus* s) { FillFinished(record, s); });
}

int Supervisor::Run() {
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  WatchSignals();
  serve_->SetStatus(board_.status());
  serve_->Start();
  telemetry::Info("runner supervises",
                  {{"task_dir", dir_.root()}, {"version", base::Version()}, {"pid", getpid()}});
  TakeEarlyStop();
  loop_.Run();
  // Sessions of ssh and what they started; in a container the kernel ends them with us.
  SignalAll(FindJobProcesses(getpid(), {}), SIGKILL);
  const int status = SupervisorExitStatus(board_.status());
  // For the shim, which is not always the parent of this process.
  const absl::Status written =
      base::WriteFileAtomic(dir_.SupervisorExit(), fmt::format("{}\n", status), 0600);
  if (!written.ok()) telemetry::Error("exit status not written", {{"error", written}});
  return status;
}

void Supervisor::WatchSignals() {
  std::signal(SIGPIPE, SIG_IGN);
  // A limit for the size of files (ulimit -f) is an error of write, not our end.
  std::signal(SIGXFSZ, SIG_IGN);
  const sigset_t wanted = SupervisorSignals();
  signals_.reset(signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK));
  loop_.Watch(signals_.get(), EPOLLIN, [this](std::uint32_t) {
    signalfd_siginfo info{};
    while (read(signals_.get(), &info, sizeof(info)) == sizeof(info)) {
      OnSignal(static_cast<int>(info.ssi_signo));
    }
  });
}

// The kernel drops a SIGTERM to the first process of a container that has not got as far as
// holding it back. Whoever stops a task writes this file first, so that the wish is seen either
// way.
void Supervisor::TakeEarlyStop() {
  if (!base::Exists(dir_.StopGrace())) return;
  OnTerminate();
  // The signal itself may still come; it is the same wish, not a second one.
  is_signal_expected_ = true;
}

void Supervisor::OnSignal(int signal) {
  if (signal == SIGCHLD) {
    Reap();
  } else if (signal != SIGHUP) {
    OnTerminate();
  }
}

void Supervisor::Reap() {
  int wait_status = 0;
  while (true) {
    const pid_t pid = waitpid(-1, &wait_status, WNOHANG);
    if (pid <= 0) return;
    if (serve_->OnChildExit(pid, wait_status) || sshd_->OnChildExit(pid, wait_status)) continue;
    job_->OnChildExit(pid, wait_status);
  }
}

void Supervisor::OnServeMessage(const control::ToSupervisor& message) {
  using control::ToSupervisor;
  switch (message.message_case()) {
    case ToSupervisor::kSubmitted:
      board_.Apply(JobEvent::kSubmit).IgnoreError();  // the same job again changes nothing
      break;
    case ToSupervisor::kStart:
      StartJob();
      break;
    case ToSupervisor::kFail:
      job_->Fail(message.fail().message());
      break;
    case ToSupervisor::kStop:
      job_->Stop(std::chrono::seconds(message.stop().grace().seconds()) +
                     std::chrono::nanoseconds(message.stop().grace().nanos()),
                 v1::FINISH_REASON_STOPPED);
      break;
    case ToSupervisor::kAcked:
      OnAcked(message.acked());
      break;
    case ToSupervisor::kEndAcked:
      if (board_.state() == v1::JOB_STATE_FINISHED) Leave();
      break;
    case ToSupervisor::kLine:
      log_->Line(message.line().text());
      break;
    case ToSupervisor::kSessionChanged:
    case ToSupervisor::MESSAGE_NOT_SET:
      break;
  }
}

void Supervisor::StartJob() {
  const auto loaded = LoadProto(dir_.Job(), &spec_);
  if (!loaded.ok() || !*loaded) {
    job_->Fail(loaded.ok() ? "the job's spec is missing" : std::string(loaded.status().message()));
    return;
  }
  job_->Start(spec_);
}

void Supervisor::OnAcked(const v1::LogPosition& position) {
  const bool is_job = position.source() == common::v1::LOG_SOURCE_JOB;
  spool::Writer& writer = is_job ? *output_ : log_->writer();
  const absl::Status trimmed = writer.Trim(position.sequence());
  if (!trimmed.ok()) telemetry::Error("spool not trimmed", {{"error", trimmed}});
  if (is_job) job_->OnRoom();
}

void Supervisor::OnStatus(const v1::JobStatus& status) {
  serve_->SetStatus(status);
  if (status.state() != v1::JOB_STATE_FINISHED) return;
  sshd_->Stop();
  // A server that is connected takes what is left within moments; without one nobody does.
  if (!is_terminating_) return LeaveAfter(kLinger);
  LeaveAfter(serve_->is_connected() ? kLingerTerminated : std::chrono::milliseconds(0));
}

// SIGTERM is how an engine stops a container. It waits for our exit, so we do not linger.
void Supervisor::OnTerminate() {
  if (std::exchange(is_signal_expected_, false)) return;
  if (is_terminating_) return Leave();
  is_terminating_ = true;
  if (board_.state() == v1::JOB_STATE_FINISHED) {
    return LeaveAfter(serve_->is_connected() ? kLingerTerminated : std::chrono::milliseconds(0));
  }
  job_->Stop(StopGrace(), v1::FINISH_REASON_STOPPED);
}

std::chrono::nanoseconds Supervisor::StopGrace() const {
  std::int64_t seconds = 0;
  const std::string text = base::ReadFile(dir_.StopGrace()).value_or("");
  if (absl::SimpleAtoi(text, &seconds) && seconds >= 0) return std::chrono::seconds(seconds);
  if (spec_.has_stop_duration()) return std::chrono::seconds(spec_.stop_duration().seconds());
  return kDefaultStopGrace;
}

void Supervisor::LeaveAfter(std::chrono::milliseconds delay) {
  loop_.Cancel(&leave_timer_);
  leave_timer_ = loop_.After(delay, [this] { Leave(); });
}

void Supervisor::Leave() {
  if (is_leaving_) return;
  is_leaving_ = true;
  loop_.Cancel(&leave_timer_);
  sshd_->Stop();
  serve_->Leave(kServeLeaves, [this] { loop_.Stop(); });
}

std::set<pid_t> Supervisor::NotOurs() const {
  std::set<pid_t> pids;
  if (serve_->pid() > 0) pids.insert(serve_->pid());
  if (sshd_->pid() > 0) pids.insert(sshd_->pid());
  if (job_->terminal_holder_pid() > 0) pids.insert(job_->terminal_holder_pid());
  return pids;
}

}  // namespace dstack::runner
