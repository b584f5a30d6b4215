#include "services/runner/serve/app.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <poll.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "libs/base/macros.h"
#include "libs/base/status.h"
#include "libs/telemetry/log.h"
#include "services/runner/control/channel.h"
#include "services/runner/serve/core.h"
#include "services/runner/serve/grpc_server.h"
#include "services/runner/serve/lost_job.h"

extern char** environ;

namespace dstack::runner {
namespace {

constexpr int kExitFailed = 1;
// An earlier process of this directory is about to go.
constexpr int kLockWaitMs = 10'000;

// Talks to the parent over the socket that it left us.
class LiveSupervisor final : public SupervisorPort {
 public:
  explicit LiveSupervisor(base::UniqueFd socket) : channel_(std::move(socket)) {}
  void Tell(const control::ToSupervisor& message) override {
    // When it is gone the loop ends by itself; it reads the same socket.
    channel_.SendBlocking(message).IgnoreError();
  }
  Channel& channel() { return channel_; }

 private:
  Channel channel_;
};

// Nobody is left to be told.
class GoneSupervisor final : public SupervisorPort {
 public:
  void Tell(const control::ToSupervisor& /*message*/) override {}
};

// SIGTERM ends the loop. Must be called before there are threads, which inherit the mask.
base::UniqueFd WatchTermination(EventLoop& loop) {
  std::signal(SIGPIPE, SIG_IGN);
  sigset_t wanted;
  sigemptyset(&wanted);
  sigaddset(&wanted, SIGTERM);
  sigaddset(&wanted, SIGINT);
  sigprocmask(SIG_BLOCK, &wanted, nullptr);
  base::UniqueFd signals(signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK));
  loop.Watch(signals.get(), EPOLLIN, [&loop](std::uint32_t) { loop.Stop(); });
  return signals;
}

// Ends the loop when the task is removed: nobody can come for it any more.
base::UniqueFd WatchRemoval(EventLoop& loop, const TaskDir& dir) {
  base::UniqueFd watch(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  // The deletion of the directory itself is not told while it is our working directory.
  if (!watch || inotify_add_watch(watch.get(), dir.root().c_str(), IN_DELETE) < 0) {
    telemetry::Warn("the task's removal will not be noticed",
                    {{"error", base::ErrnoError(errno, "inotify")}});
    return base::UniqueFd();
  }
  loop.Watch(watch.get(), EPOLLIN, [&loop, &dir, fd = watch.get()](std::uint32_t) {
    std::array<char, 4096> events;
    [[maybe_unused]] const ssize_t got = read(fd, events.data(), events.size());
    if (!base::Exists(dir.Token())) loop.Stop();
  });
  return watch;
}

absl::Status Enter(const TaskDir& dir) {
  if (chdir(dir.root().c_str()) != 0) return base::ErrnoError(errno, dir.root());
  return absl::OkStatus();
}

void OnControl(EventLoop& loop, LiveSupervisor& supervisor, ServeCore& core) {
  control::FromSupervisor message;
  const auto got = supervisor.channel().Receive(&message);
  if (!got.ok()) {
    telemetry::Info("the supervisor is gone");
    loop.Stop();
  } else if (*got) {
    core.OnStatus(message.job_status());
  }
}

// The supervisor hands proxies over under names that mean nothing to gRPC.
std::vector<std::string> Proxies() {
  std::vector<std::string> proxies;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    std::string_view text = *entry;
    if (!text.starts_with(kProxyPrefix)) continue;
    text.remove_prefix(std::string_view(kProxyPrefix).size());
    proxies.emplace_back(text);
  }
  return proxies;
}

CheckoutContext MakeCheckoutContext(const ServeOptions& options) {
  return {.initial_dir = options.initial_dir,
          .bundle_dir = options.ssh_dir,
          .shared_dir = options.shared_dir,
          .proxies = Proxies()};
}

absl::Status Serve(const ServeOptions& options) {
  const TaskDir dir(options.serving.task_dir);
  RETURN_IF_ERROR(Enter(dir));
  ASSIGN_OR_RETURN(const base::UniqueFd lock, LockFile(dir.ServeLock(), kLockWaitMs));
  EventLoop loop;
  const base::UniqueFd signals = WatchTermination(loop);
  const base::UniqueFd appended(options.appended_fd);
  LiveSupervisor supervisor((base::UniqueFd(options.control_fd)));
  // The supervisor ends this process when it leaves.
  ServeCore core(loop, dir, supervisor, MakeCheckoutContext(options), [] {});
  RETURN_IF_ERROR(core.Load());
  // The status comes first; no call may be answered without it.
  pollfd first{.fd = supervisor.channel().fd(), .events = POLLIN, .revents = 0};
  poll(&first, 1, -1);
  OnControl(loop, supervisor, core);
  loop.Watch(supervisor.channel().fd(), EPOLLIN, [&](std::uint32_t) {
    OnControl(loop, supervisor, core);
  });
  loop.Watch(appended.get(), EPOLLIN, [&](std::uint32_t) {
    std::uint64_t count = 0;
    [[maybe_unused]] const ssize_t got = read(appended.get(), &count, sizeof(count));
    core.OnAppended();
  });
  ASSIGN_OR_RETURN(const auto server, GrpcServer::Start(options.serving, dir, loop, core));
  loop.Run();
  core.Shutdown();
  return absl::OkStatus();
}

absl::Status Deliver(const DeliverOptions& options) {
  const TaskDir dir(options.serving.task_dir);
  RETURN_IF_ERROR(Enter(dir));
  ASSIGN_OR_RETURN(const base::UniqueFd no_supervisor, LockFile(dir.SupervisorLock(), kLockWaitMs));
  ASSIGN_OR_RETURN(const base::UniqueFd lock, LockFile(dir.ServeLock(), kLockWaitMs));
  const base::RealClock clock;
  ASSIGN_OR_RETURN(const v1::JobStatus status, ConcludeJob(dir, clock));
  EventLoop loop;
  const base::UniqueFd signals = WatchTermination(loop);
  const base::UniqueFd removal = WatchRemoval(loop, dir);
  GoneSupervisor supervisor;
  ServeCore core(loop, dir, supervisor, {.initial_dir = dir.root()}, [&loop] { loop.Stop(); });
  RETURN_IF_ERROR(core.Load());
  core.OnStatus(status);
  ASSIGN_OR_RETURN(const auto server, GrpcServer::Start(options.serving, dir, loop, core));
  loop.Run();
  core.Shutdown();
  return absl::OkStatus();
}

int ExitStatus(const absl::Status& status) {
  if (status.ok()) return 0;
  telemetry::Error("runner failed", {{"error", status}});
  return kExitFailed;
}

}  // namespace

int RunServe(const ServeOptions& options) { return ExitStatus(Serve(options)); }

int RunDeliver(const DeliverOptions& options) { return ExitStatus(Deliver(options)); }

}  // namespace dstack::runner
