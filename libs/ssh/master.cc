#include "libs/ssh/master.h"

#include <algorithm>
#include <utility>

#include <absl/strings/str_split.h>
#include <fmt/format.h>

#include "libs/base/file.h"
#include "libs/base/status.h"
#include "libs/net/unix_socket.h"
#include "libs/ssh/keys.h"
#include "libs/ssh/outcome.h"

namespace dstack::ssh {
namespace {

using std::chrono::seconds;

// Printed by the session when it runs. Login shells may print other things before.
constexpr const char* kMarker = "dstack-session-is-up";
constexpr std::size_t kLogBytes = 8192;
constexpr seconds kControlTimeout{10};
constexpr const char* kHostAlias = "dstack-host";
constexpr const char* kJumpAlias = "dstack-jump";
// ssh binds "<control path>.<16 characters>" and renames it.
constexpr std::size_t kControlSuffixBytes = 17;
// Exit status of ssh's own failures.
constexpr int kSshFailed = 255;

std::string Destination(const Login& login) {
  return fmt::format("{}@{}:{}", login.user, login.hostname, login.port);
}

}  // namespace

Master::Master(MasterOptions options, PipeWatcher& watcher)
    : options_(std::move(options)), watcher_(watcher), destination_(Destination(options_.host)) {}

absl::StatusOr<std::unique_ptr<Master>> Master::Open(MasterOptions options,
                                                     PipeWatcher& watcher,
                                                     std::stop_token stop) {
  std::unique_ptr<Master> master(new Master(std::move(options), watcher));
  RETURN_IF_ERROR(master->PrepareFiles());
  RETURN_IF_ERROR(master->Start());
  RETURN_IF_ERROR(master->WaitUntilUp(stop));
  master->ReadHostKey();
  return master;
}

Master::~Master() {
  if (output_watch_ != 0) watcher_.Remove(output_watch_);
  if (log_watch_ != 0) watcher_.Remove(log_watch_);
  child_.reset();
  static_cast<void>(base::RemoveAll(options_.directory));
}

absl::StatusOr<Hop> Master::WriteLogin(const Login& login,
                                       const std::string& alias,
                                       std::string* known_hosts) {
  Hop hop;
  hop.hostname = login.hostname;
  hop.port = login.port;
  hop.user = login.user;
  hop.known_hosts_file = base::JoinPath(options_.directory, "known_hosts");
  hop.host_key_alias = alias;
  for (const base::Secret& key : login.private_keys) {
    hop.identity_files.push_back(base::JoinPath(
        options_.directory, fmt::format("{}-key{}", alias, hop.identity_files.size())));
    RETURN_IF_ERROR(
        base::WriteFileAtomic(hop.identity_files.back(), NormalizePrivateKey(key).Reveal(), 0600));
  }
  if (!login.host_key.empty()) {
    const auto bare = BareKey(login.host_key);
    if (!bare.ok()) return base::InvalidField("host_key", base::Message(bare.status()));
    *known_hosts += fmt::format("{} {}\n", alias, *bare);
    hop.is_key_pinned = true;
  }
  return hop;
}

absl::Status Master::PrepareFiles() {
  RETURN_IF_ERROR(base::RemoveAll(options_.directory));
  RETURN_IF_ERROR(base::MakeDirs(options_.directory, 0700));
  std::string known_hosts;
  ASSIGN_OR_RETURN(spec_.host, WriteLogin(options_.host, kHostAlias, &known_hosts));
  if (options_.jump.has_value()) {
    ASSIGN_OR_RETURN(Hop jump, WriteLogin(*options_.jump, kJumpAlias, &known_hosts));
    spec_.jump = std::move(jump);
  }
  spec_.control_path = base::JoinPath(options_.directory, "ctl");
  spec_.connect_timeout = options_.connect_timeout;
  if (spec_.control_path.size() + kControlSuffixBytes >= net::kMaxUnixPathBytes) {
    return base::Invalid(fmt::format("'{}' is too long for Unix sockets", options_.directory));
  }
  RETURN_IF_ERROR(base::WriteFileAtomic(spec_.host.known_hosts_file, known_hosts, 0600));
  return Validate(spec_);
}

absl::Status Master::Start() {
  const std::vector<std::string> session = {"sh", "-c", fmt::format("echo {}; exec cat", kMarker)};
  process::Options options;
  options.stdin_pipe = true;
  options.stdout_mode = process::Output::kPipe;
  options.stderr_mode = process::Output::kPipe;
  ASSIGN_OR_RETURN(auto child, process::Subprocess::Start(MasterCommand(spec_, session), options));
  child_ = std::move(child);
  child_stdin_ = child_->TakeStdin();
  output_watch_ = watcher_.Add(
      child_->TakeStdout(), [this](std::string_view data, bool is_end) { OnOutput(data, is_end); });
  log_watch_ = watcher_.Add(child_->TakeStderr(),
                            [this](std::string_view data, bool is_end) { OnLog(data, is_end); });
  return absl::OkStatus();
}

void Master::OnOutput(std::string_view data, bool is_end) {
  bool is_broken = false;
  {
    base::MutexLock lock(mutex_);
    if (!is_up_ && !is_end) {
      output_.append(data);
      is_up_ = output_.find(kMarker) != std::string::npos;
      if (is_up_ || output_.size() > kLogBytes) output_.clear();
    }
    is_broken = is_end && was_up_;
    output_ended_ = output_ended_ || is_end;
    changed_.NotifyAll();
  }
  if (is_broken && options_.on_broken) options_.on_broken(Failure());
}

void Master::OnLog(std::string_view data, bool is_end) {
  base::MutexLock lock(mutex_);
  log_.append(data);
  if (log_.size() > kLogBytes) log_.erase(0, log_.size() - kLogBytes);
  log_ended_ = log_ended_ || is_end;
  changed_.NotifyAll();
}

absl::Status Master::WaitUntilUp(std::stop_token stop) {
  // Declared before the lock: its destructor waits for the callback, which takes the lock.
  const std::stop_callback wake(stop, [this] {
    base::MutexLock lock(mutex_);
    changed_.NotifyAll();
  });
  const auto deadline = base::DeadlineIn(options_.open_timeout);
  bool is_late = false;
  {
    base::MutexLock lock(mutex_);
    while (!is_up_ && !(output_ended_ && log_ended_) && !is_late && !stop.stop_requested()) {
      is_late = !changed_.WaitUntil(mutex_, deadline);
    }
    if (is_up_ && !output_ended_) {
      was_up_ = true;
      return absl::OkStatus();
    }
    if (is_late) log_ += "\nConnection timed out: the session did not start";
  }
  if (stop.stop_requested()) return absl::CancelledError("the connection was given up");
  return Failure();
}

absl::Status Master::Failure() {
  std::string log;
  {
    base::MutexLock lock(mutex_);
    log = log_;
  }
  std::string recorded;
  if (!options_.host.host_key.empty()) {
    recorded = Fingerprint(options_.host.host_key).value_or("");
  }
  return ConnectionError(log, destination_, recorded);
}

void Master::ReadHostKey() {
  host_key_ = options_.host.host_key;
  if (!host_key_.empty()) return;
  const auto content = base::ReadFile(spec_.host.known_hosts_file);
  if (!content.ok()) return;
  for (const absl::string_view line : absl::StrSplit(*content, '\n')) {
    if (line.rfind(kHostAlias, 0) != 0) continue;
    host_key_ = BareKey(base::ToStd(line)).value_or("");
  }
}

MasterState Master::state() const {
  base::MutexLock lock(mutex_);
  return output_ended_ ? MasterState::kBroken : MasterState::kUp;
}

absl::Status Master::Gone(const std::string& what, const std::string& detail) {
  return base::Error(absl::StatusCode::kUnavailable,
                     "HOST_UNREACHABLE",
                     fmt::format("{}: {}: {}", destination_, what, detail));
}

absl::StatusOr<process::RunResult> Master::Control(const std::vector<std::string>& argv) {
  return process::Run(argv, kControlTimeout);
}

absl::StatusOr<std::string> Master::AddForward(const std::string& remote_socket) {
  std::string local;
  {
    base::MutexLock lock(mutex_);
    const auto it = forwards_.find(remote_socket);
    if (it != forwards_.end()) return it->second;
    local = base::JoinPath(options_.directory, fmt::format("f{}", next_forward_++));
  }
  if (remote_socket.empty() || remote_socket.front() != '/' ||
      remote_socket.find(':') != std::string::npos) {
    return base::Invalid(fmt::format("'{}' is no absolute path without ':'", remote_socket));
  }
  ASSIGN_OR_RETURN(const process::RunResult result,
                   Control(ForwardCommand(spec_.control_path, local, remote_socket)));
  if (!result.exit.ok()) return Gone("forwarding " + remote_socket, result.stderr_text);
  base::MutexLock lock(mutex_);
  forwards_[remote_socket] = local;
  return local;
}

void Master::RemoveForward(const std::string& remote_socket) {
  std::string local;
  {
    base::MutexLock lock(mutex_);
    const auto it = forwards_.find(remote_socket);
    if (it == forwards_.end()) return;
    local = it->second;
    forwards_.erase(it);
  }
  if (state() == MasterState::kUp) {
    static_cast<void>(Control(CancelForwardCommand(spec_.control_path, local, remote_socket)));
  }
  // ssh leaves the file behind.
  static_cast<void>(base::RemoveAll(local));
}

absl::StatusOr<process::RunResult> Master::Exec(const std::vector<std::string>& argv,
                                                base::Duration timeout,
                                                std::optional<std::string> stdin_data,
                                                std::stop_token stop) {
  process::Options options;
  options.stdin_data = std::move(stdin_data);
  ASSIGN_OR_RETURN(process::RunResult result,
                   process::Run(ExecCommand(spec_.control_path, argv), timeout, options, stop));
  const bool is_ssh_failure = result.exit.code == kSshFailed && state() == MasterState::kBroken;
  const bool is_mux_failure = result.exit.code == kSshFailed &&
                              (Classify(result.stderr_text) != ssh::Failure::kUnknown ||
                               result.stderr_text.find("mux") != std::string::npos ||
                               result.stderr_text.find("ontrol socket") != std::string::npos);
  if (is_ssh_failure || is_mux_failure) return Gone("running a command", result.stderr_text);
  return result;
}

}  // namespace dstack::ssh
