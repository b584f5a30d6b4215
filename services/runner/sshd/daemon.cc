#include "services/runner/sshd/daemon.h"

#include <array>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <utility>
#include <vector>

#include <absl/strings/ascii.h>
#include <absl/strings/str_join.h>
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libs/base/macros.h"
#include "libs/base/status.h"
#include "services/runner/job/fork_exec.h"
#include "services/runner/sshd/account.h"
#include "services/runner/sshd/bundle.h"
#include "services/runner/sshd/config.h"
#include "services/runner/sshd/host_key.h"
#include "services/runner/state/visible_dir.h"

namespace dstack::runner {
namespace {

constexpr std::size_t kKeptLines = 3;
constexpr std::size_t kMaxLineBytes = 4096;
// Somebody else may take a free port between our look and sshd's bind.
constexpr int kMaxAttempts = 3;
constexpr char kLoopback[] = "127.0.0.1";
constexpr base::BackoffPolicy kRestartPolicy{.initial = std::chrono::milliseconds(100),
                                             .max = std::chrono::milliseconds(10'000)};

absl::StatusOr<std::uint16_t> FreeLoopbackPort() {
  const base::UniqueFd socket_fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (!socket_fd || bind(socket_fd.get(), generic, size) != 0 ||
      getsockname(socket_fd.get(), generic, &size) != 0) {
    return base::ErrnoError(errno, "no free port");
  }
  return ntohs(address.sin_port);
}

}  // namespace

SshDaemon::SshDaemon(EventLoop& loop, Settings settings, RunnerLog& log, OnListening on_listening)
    : loop_(loop),
      settings_(std::move(settings)),
      log_(log),
      on_listening_(std::move(on_listening)),
      backoff_(kRestartPolicy, random_) {}

SshDaemon::~SshDaemon() {
  loop_.Cancel(&restart_);
  if (output_) loop_.Unwatch(output_.get());
}

void SshDaemon::Start(Access access) {
  if (settings_.bundle_dir.empty() || phase_ != Phase::kIdle) return;
  access_ = std::move(access);
  auto made = MakeVisibleDir(settings_.state_dir, settings_.private_dir);
  if (!made.ok()) return GiveUp(base::Message(made.status()));
  state_dir_ = *std::move(made);
  absl::Status prepared = PrepareUsers();
  if (prepared.ok()) prepared = WriteHostKey();
  if (!prepared.ok()) return GiveUp(base::Message(prepared));
  MakeHostKey();
}

absl::Status SshDaemon::PrepareUsers() {
  if (geteuid() != 0) return absl::OkStatus();
  const bool has_users =
      settings_.may_change_system ? PrepareAccounts(access_.user).ok() : HasSshdAccount();
  has_own_accounts_ = !has_users;
  return has_users ? absl::OkStatus() : WriteOwnAccounts(access_.user, state_dir_);
}

// The key that the server chose, in the two files that ssh-keygen would make.
absl::Status SshDaemon::WriteHostKey() {
  if (access_.host_private_key.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::string public_key, PublicHalf(access_.host_private_key));
  const std::string path = state_dir_ + "/host_key";
  RETURN_IF_ERROR(base::WriteFileAtomic(path, access_.host_private_key, 0600));
  return base::WriteFileAtomic(path + ".pub", public_key + "\n", 0644);
}

void SshDaemon::MakeHostKey() {
  const std::string key = state_dir_ + "/host_key";
  if (base::Exists(key + ".pub")) return StartDaemon();
  phase_ = Phase::kMakingKey;
  const absl::Status spawned =
      Spawn("bin/ssh-keygen", {"-q", "-t", "ed25519", "-N", "", "-C", "", "-f", key});
  if (!spawned.ok()) GiveUp(base::Message(spawned));
}

void SshDaemon::StartDaemon() {
  ++attempts_;
  absl::Status started = WriteConfig();
  phase_ = Phase::kStarting;
  if (started.ok()) {
    // -r: no exec of itself for each connection, which would go around the loader given here.
    started = Spawn("sbin/sshd", {"-D", "-e", "-r", "-f", state_dir_ + "/sshd_config"});
  }
  if (!started.ok()) GiveUp(base::Message(started));
}

absl::Status SshDaemon::WriteConfig() {
  SshdConfig config{.listen_address = "",
                    .port = settings_.port,
                    .host_key = state_dir_ + "/host_key",
                    .authorized_keys = state_dir_ + "/authorized_keys",
                    .environment = access_.environment};
  if (settings_.port == 0) {
    config.listen_address = kLoopback;
    // Forwards lead to the port that was told: a restarted sshd takes it again.
    if (phase_ == Phase::kRestarting) config.port = port_;
    if (config.port == 0) {
      ASSIGN_OR_RETURN(config.port, FreeLoopbackPort());
    }
  }
  port_ = config.port;
  // A copy: sshd reads it as the user who logs in, who cannot look into the task's directory.
  std::string keys = base::ReadFile(settings_.authorized_keys).value_or("");
  if (!keys.empty() && keys.back() != '\n') keys += '\n';
  keys += access_.authorized_keys;
  RETURN_IF_ERROR(base::WriteFileAtomic(config.authorized_keys, keys, 0644));
  return base::WriteFileAtomic(state_dir_ + "/sshd_config", RenderSshdConfig(config), 0600);
}

absl::Status SshDaemon::Spawn(const std::string& program, const std::vector<std::string>& args) {
  ASSIGN_OR_RETURN(std::vector<std::string> command, BundleCommand(settings_.bundle_dir, program));
  std::vector<std::string> env = {
      "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"};
  if (has_own_accounts_) {
    UseOwnAccounts(settings_.bundle_dir, &command);
    env.push_back(fmt::format("{}={}", kAccountsPasswd, state_dir_ + "/passwd"));
    env.push_back(fmt::format("{}={}", kAccountsChrootDir, state_dir_ + "/empty"));
  }
  ASSIGN_OR_RETURN(base::Pipe pipe, base::MakePipe());
  command.insert(command.end(), args.begin(), args.end());
  ForkExecSpec spec{.argv = std::move(command),
                    .env = std::move(env),
                    .fds = {{pipe.write.get(), STDOUT_FILENO}, {pipe.write.get(), STDERR_FILENO}}};
  spec.program = spec.argv.front();
  ASSIGN_OR_RETURN(pid_, ForkExec(spec));
  if (output_) loop_.Unwatch(output_.get());
  output_ = std::move(pipe.read);
  fcntl(output_.get(), F_SETFL, O_NONBLOCK);
  loop_.Watch(output_.get(), EPOLLIN, [this](std::uint32_t) { OnOutput(); });
  return absl::OkStatus();
}

void SshDaemon::OnOutput() {
  std::array<char, 4096> buffer;
  const ssize_t got = read(output_.get(), buffer.data(), buffer.size());
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) {
    loop_.Unwatch(output_.get());
    output_.reset();
    return;
  }
  partial_line_.append(buffer.data(), static_cast<std::size_t>(got));
  std::size_t end = 0;
  while ((end = partial_line_.find('\n')) != std::string::npos) {
    const std::string line = partial_line_.substr(0, end);
    OnLine(base::ToStd(absl::StripAsciiWhitespace(line)));
    partial_line_.erase(0, end + 1);
  }
  if (partial_line_.size() > kMaxLineBytes) partial_line_.clear();
}

void SshDaemon::OnLine(std::string_view line) {
  if (phase_ == Phase::kStarting && line.starts_with("Server listening on")) {
    phase_ = Phase::kListening;
    has_listened_ = true;
    std::string key = base::ReadFile(state_dir_ + "/host_key.pub").value_or("");
    absl::StripAsciiWhitespace(&key);
    on_listening_(port_, key);
  }
  last_lines_.emplace_back(line);
  if (last_lines_.size() > kKeptLines) last_lines_.pop_front();
}

bool SshDaemon::OnChildExit(pid_t pid, int wait_status) {
  if (pid != pid_) return false;
  pid_ = -1;
  // What it said last may still be in the pipe.
  if (output_) OnOutput();
  const bool has_key = phase_ == Phase::kMakingKey && wait_status == 0;
  // Somebody has taken the free port meanwhile.
  const bool tries_again =
      phase_ == Phase::kStarting && settings_.port == 0 && attempts_ < kMaxAttempts;
  if (has_key || tries_again) {
    StartDaemon();
  } else if (phase_ == Phase::kListening || (phase_ == Phase::kStarting && has_listened_)) {
    Restart();
  } else if (phase_ != Phase::kStopped) {
    GiveUp(absl::StrJoin(last_lines_, "; "));
  }
  return true;
}

// It worked before: whoever killed it did not mean to lock the job's owner out. Sessions live on
// without it.
void SshDaemon::Restart() {
  phase_ = Phase::kRestarting;
  attempts_ = kMaxAttempts;
  log_.Line("sshd ended and is started again");
  restart_ = loop_.After(backoff_.Next(), [this] {
    restart_ = EventLoop::kNoTimer;
    StartDaemon();
  });
}

void SshDaemon::GiveUp(std::string_view why) {
  phase_ = Phase::kStopped;
  log_.Line(fmt::format("no ssh access to this job: {}", why));
}

void SshDaemon::Stop() {
  phase_ = Phase::kStopped;
  loop_.Cancel(&restart_);
  if (pid_ > 0) kill(pid_, SIGTERM);
}

}  // namespace dstack::runner
