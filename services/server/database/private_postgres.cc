#include "services/server/database/private_postgres.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "libs/base/status.h"
#include "libs/telemetry/log.h"

namespace dstack::server {
namespace {

using namespace std::chrono_literals;

// Recovery after a crash replays what the last checkpoint has not covered.
constexpr auto kStartTimeout = 60s;
// After that the shutdown is immediate, which costs a recovery at the next start and no data.
constexpr int kStopTimeoutMs = 15'000;
// Pause between attempts to start a server that does not stay.
constexpr auto kStartPause = 100ms;
constexpr int kFirstPauseMs = 100;
constexpr int kMaxPauseMs = 5'000;

const std::vector<std::pair<std::string, std::string>>& Settings() {
  static const std::vector<std::pair<std::string, std::string>> settings = {
      {"shared_buffers", "64MB"},
      {"max_connections", "50"},
      {"synchronous_commit", "on"},
      // Nobody replicates from it.
      {"wal_level", "minimal"},
      {"max_wal_senders", "0"},
      {"max_wal_size", "512MB"},
      // Statements here take less than a compilation.
      {"jit", "off"},
      {"max_parallel_workers_per_gather", "0"},
      {"autovacuum_max_workers", "2"},
      // Data is cached or on an SSD.
      {"random_page_cost", "1.1"},
      {"log_min_messages", "warning"},
  };
  return settings;
}

base::UniqueFd OpenPidfd(pid_t pid) {
  return base::UniqueFd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
}

// True when the process ends within the time.
bool AwaitEnd(pid_t pid, int timeout_ms) {
  const base::UniqueFd process = OpenPidfd(pid);
  if (!process) return true;
  pollfd fd = {process.get(), POLLIN, 0};
  return poll(&fd, 1, timeout_ms) > 0;
}

// One server process at a time; the lock goes with the process, however it ends.
absl::StatusOr<base::UniqueFd> Lock(const std::string& directory) {
  const std::string path = directory + "/lock";
  base::UniqueFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd) return base::ErrnoError(errno, path);
  if (flock(fd.get(), LOCK_EX | LOCK_NB) == 0) return fd;
  return base::Error(absl::StatusCode::kFailedPrecondition,
                     "DATABASE_UNAVAILABLE",
                     fmt::format("another server process uses the database in {}", directory));
}

}  // namespace

PrivatePostgres::PrivatePostgres(PostgresCluster cluster, base::UniqueFd lock)
    : cluster_(std::move(cluster)),
      conninfo_(cluster_.Conninfo("postgres")),
      lock_(std::move(lock)),
      stop_event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

absl::StatusOr<std::unique_ptr<PrivatePostgres>> PrivatePostgres::Start(
    const std::string& directory) {
  RETURN_IF_ERROR(base::MakeDirs(directory, 0700));
  ASSIGN_OR_RETURN(base::UniqueFd lock, Lock(directory));
  ASSIGN_OR_RETURN(PostgresCluster cluster, PostgresCluster::At(directory));
  RETURN_IF_ERROR(cluster.EnsureData());
  std::unique_ptr<PrivatePostgres> postgres(
      new PrivatePostgres(std::move(cluster), std::move(lock)));
  RETURN_IF_ERROR(postgres->EnsureRunning());
  postgres->supervisor_ = std::jthread([self = postgres.get()] { self->Supervise(); });
  return postgres;
}

PrivatePostgres::~PrivatePostgres() {
  const std::uint64_t one = 1;
  // An eventfd takes the write unless its counter is full, and then it is readable anyway.
  [[maybe_unused]] const auto written = write(stop_event_.get(), &one, sizeof(one));
  if (supervisor_.joinable()) supervisor_.join();
  const auto pid = cluster_.RunningPid();
  if (!pid) return;
  kill(*pid, SIGINT);  // fast
  if (AwaitEnd(*pid, kStopTimeoutMs)) return;
  kill(*pid, SIGQUIT);  // immediate
  AwaitEnd(*pid, kStopTimeoutMs);
}

absl::Status PrivatePostgres::EnsureRunning() {
  const base::MonotonicTime deadline = base::DeadlineIn(kStartTimeout);
  if (cluster_.RunningPid()) {
    const auto is_alive = [this] { return cluster_.RunningPid().has_value(); };
    if (cluster_.AwaitReady(deadline, is_alive).ok()) return absl::OkStatus();
  }
  return StartServer(deadline);
}

absl::Status PrivatePostgres::StartServer(base::MonotonicTime deadline) {
  // The last backends of a server that was killed hold its shared memory for a moment, and the next
  // one refuses to start.
  for (;;) {
    ASSIGN_OR_RETURN(process::Subprocess server, cluster_.Start(Settings()));
    absl::Status status =
        cluster_.AwaitReady(deadline, [&] { return !server.Poll().has_value(); });
    if (status.ok()) {
      child_ = std::move(server);
      return absl::OkStatus();
    }
    if (!absl::IsUnavailable(status) || base::DeadlineIn(kStartPause) >= deadline) return status;
    std::this_thread::sleep_for(kStartPause);
  }
}

bool PrivatePostgres::AwaitEndOfServer() {
  const auto pid = cluster_.RunningPid();
  const base::UniqueFd process = pid ? OpenPidfd(*pid) : base::UniqueFd();
  if (!process) return Pause(0);
  std::array<pollfd, 2> fds = {{{process.get(), POLLIN, 0}, {stop_event_.get(), POLLIN, 0}}};
  while (poll(fds.data(), fds.size(), -1) < 0) {
  }
  return fds[1].revents == 0;
}

bool PrivatePostgres::Pause(int timeout_ms) {
  pollfd fd = {stop_event_.get(), POLLIN, 0};
  return poll(&fd, 1, timeout_ms) == 0;
}

void PrivatePostgres::Supervise() {
  while (AwaitEndOfServer()) {
    telemetry::Warn("PostgreSQL ended, starting it again", {{"data", cluster_.data_directory()}});
    // Reaped, and its last backends killed, where it was our child.
    child_.reset();
    int pause_ms = kFirstPauseMs;
    for (absl::Status status = EnsureRunning(); !status.ok(); status = EnsureRunning()) {
      telemetry::Error("PostgreSQL does not start", {{"error", status}});
      if (!Pause(pause_ms)) return;
      pause_ms = std::min(pause_ms * 2, kMaxPauseMs);
    }
  }
}

}  // namespace dstack::server
