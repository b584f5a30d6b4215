#include "services/runner/supervise/serve_child.h"

#include <array>
#include <csignal>
#include <cstdlib>
#include <utility>

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "libs/base/macros.h"
#include "libs/base/status.h"
#include "libs/telemetry/log.h"
#include "services/runner/job/fork_exec.h"
#include "services/runner/options.h"

namespace dstack::runner {
namespace {

constexpr std::array kProxyVariables = {"http_proxy",
                                        "https_proxy",
                                        "no_proxy",
                                        "all_proxy",
                                        "HTTP_PROXY",
                                        "HTTPS_PROXY",
                                        "NO_PROXY",
                                        "ALL_PROXY"};

// Descriptors of the child. Options of the command line name them.
constexpr int kControlFd = 3;
constexpr int kAppendedFd = 4;
constexpr std::chrono::seconds kLivedLong{10};
constexpr base::BackoffPolicy kRestartPolicy{.initial = std::chrono::milliseconds(50),
                                             .max = std::chrono::milliseconds(3000)};

}  // namespace

ServeChild::ServeChild(EventLoop& loop, std::vector<std::string> args, Handler handler)
    : loop_(loop),
      args_(std::move(args)),
      handler_(std::move(handler)),
      appended_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      backoff_(kRestartPolicy, random_) {}

ServeChild::~ServeChild() {
  loop_.Cancel(&restart_);
  loop_.Cancel(&kill_);
  if (channel_) loop_.Unwatch(channel_->fd());
}

void ServeChild::Start() { Spawn(); }

void ServeChild::Spawn() {
  const absl::Status spawned = TrySpawn();
  if (spawned.ok()) return;
  telemetry::Error("serve not started", {{"error", spawned}});
  restart_ = loop_.After(backoff_.Next(), [this] { Spawn(); });
}

absl::Status ServeChild::TrySpawn() {
  ASSIGN_OR_RETURN(auto ends, Channel::MakePair());
  ASSIGN_OR_RETURN(pid_, Fork(ends.second.get()));
  spawned_ = std::chrono::steady_clock::now();
  channel_ = std::make_unique<Channel>(std::move(ends.first));
  WatchForInput();
  SendStatus();
  return absl::OkStatus();
}

absl::StatusOr<pid_t> ServeChild::Fork(int control_fd) {
  ForkExecSpec spec{.program = "/proc/self/exe",
                    .argv = {"dstack-runner",
                             "serve",
                             "--control-fd",
                             std::to_string(kControlFd),
                             "--appended-fd",
                             std::to_string(kAppendedFd)},
                    .env = {},
                    .fds = {{control_fd, kControlFd}, {appended_.get(), kAppendedFd}}};
  spec.argv.insert(spec.argv.end(), args_.begin(), args_.end());
  // Nothing of the image's environment reaches gRPC (proxies, resolvers, tracing); git gets the
  // proxies.
  for (const char* name : kProxyVariables) {
    const char* value = std::getenv(name);
    if (value != nullptr) spec.env.push_back(fmt::format("{}{}={}", kProxyPrefix, name, value));
  }
  if (const char* points = std::getenv("DSTACK_FAILPOINTS")) {
    spec.env.push_back(std::string("DSTACK_FAILPOINTS=") + points);
  }
  return ForkExec(spec);
}

void ServeChild::WatchForInput() {
  loop_.Watch(channel_->fd(), EPOLLIN, [this](std::uint32_t) { OnPacket(); });
}

void ServeChild::OnPacket() {
  control::ToSupervisor message;
  const auto got = channel_->Receive(&message);
  if (!got.ok()) {
    // The exit of the child follows; until then the socket would report its end for ever.
    loop_.Unwatch(channel_->fd());
    return;
  }
  if (!*got) return;
  if (message.has_session_changed()) is_connected_ = message.session_changed().is_connected();
  handler_(message);
}

void ServeChild::SetStatus(const v1::JobStatus& status) {
  *status_.emplace().mutable_job_status() = status;
  SendStatus();
}

void ServeChild::SendStatus() {
  if (!status_ || pid_ < 0) return;
  const absl::Status sent = channel_->Send(*status_);
  if (sent.code() != absl::StatusCode::kResourceExhausted) return;
  // A stopped child: only the newest status waits for it.
  loop_.Watch(channel_->fd(), EPOLLIN | EPOLLOUT, [this](std::uint32_t events) {
    if ((events & EPOLLIN) != 0) return OnPacket();
    WatchForInput();
    SendStatus();
  });
}

void ServeChild::NotifyAppended() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(appended_.get(), &one, sizeof(one));
}

bool ServeChild::OnChildExit(pid_t pid, int wait_status) {
  if (pid != pid_) return false;
  loop_.Unwatch(channel_->fd());
  channel_.reset();
  pid_ = -1;
  is_connected_ = false;
  if (is_leaving_) {
    Gone();
    return true;
  }
  if (std::chrono::steady_clock::now() - spawned_ > kLivedLong) backoff_.Reset();
  const auto delay = backoff_.Next();
  telemetry::Warn("serve ended, starting it again",
                  {{"wait_status", wait_status}, {"delay_ms", delay.count()}});
  restart_ = loop_.After(delay, [this] { Spawn(); });
  return true;
}

void ServeChild::Leave(std::chrono::milliseconds limit, std::function<void()> on_gone) {
  is_leaving_ = true;
  on_gone_ = std::move(on_gone);
  loop_.Cancel(&restart_);
  if (pid_ < 0) {
    loop_.Post([this] { Gone(); });
    return;
  }
  kill(pid_, SIGTERM);
  kill_ = loop_.After(limit, [this] {
    if (pid_ > 0) kill(pid_, SIGKILL);
  });
}

void ServeChild::Gone() {
  loop_.Cancel(&kill_);
  if (on_gone_) std::exchange(on_gone_, nullptr)();
}

}  // namespace dstack::runner
