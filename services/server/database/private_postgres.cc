#include "services/server/database/private_postgres.h"

#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <utility>
#include <vector>

#include "libs/base/file.h"
#include "libs/base/status.h"
#include "libs/telemetry/log.h"

namespace dstack::server {
namespace {

using namespace std::chrono_literals;

// Recovery after a crash replays what the last checkpoint has not covered.
constexpr auto kStartTimeout = 60s;
// After that the shutdown is immediate, which costs a recovery at the next start and no data.
constexpr auto kStopTimeout = 15s;
// The stop token of a jthread cannot be polled together with a pidfd.
constexpr int kStopProbeMs = 100;
constexpr auto kRetryDelay = 200ms;

const std::vector<std::pair<std::string, std::string>>& Settings() {
  static const std::vector<std::pair<std::string, std::string>> settings = {
      {"shared_buffers", "64MB"},
      {"max_connections", "50"},
      {"synchronous_commit", "on"},
      {"max_wal_size", "256MB"},
      {"jit", "off"},
      {"max_worker_processes", "4"},
      {"max_parallel_workers_per_gather", "0"},
      {"autovacuum_max_workers", "1"},
      {"log_min_messages", "warning"},
  };
  return settings;
}

// Waits until the process ends or `timeout_ms` is over. True: it ended.
bool AwaitEnd(pid_t pid, int timeout_ms) {
  const base::UniqueFd process(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (process.get() < 0) return true;
  pollfd poll_fd = {process.get(), POLLIN, 0};
  if (poll(&poll_fd, 1, timeout_ms) <= 0) return false;
  waitpid(pid, nullptr, WNOHANG);  // ours, or a server that an earlier process has left behind
  return true;
}

}  // namespace

PrivatePostgres::PrivatePostgres(PostgresCluster cluster)
    : cluster_(std::move(cluster)), conninfo_(cluster_.Conninfo("postgres")) {}

absl::StatusOr<std::unique_ptr<PrivatePostgres>> PrivatePostgres::Start(const std::string& directory) {
  RETURN_IF_ERROR(base::MakeDirs(directory, 0700));
  ASSIGN_OR_RETURN(PostgresCluster cluster, PostgresCluster::At(directory));
  RETURN_IF_ERROR(cluster.EnsureData());
  std::unique_ptr<PrivatePostgres> postgres(new PrivatePostgres(std::move(cluster)));
  RETURN_IF_ERROR(postgres->EnsureRunning());
  postgres->supervisor_ =
      std::jthread([self = postgres.get()](std::stop_token stop) { self->Supervise(stop); });
  return postgres;
}

PrivatePostgres::~PrivatePostgres() {
  supervisor_.request_stop();
  if (supervisor_.joinable()) supervisor_.join();
  const auto pid = cluster_.RunningPid();
  if (!pid.has_value()) return;
  kill(*pid, SIGINT);  // fast
  constexpr int kTimeoutMs = std::chrono::milliseconds(kStopTimeout).count();
  if (AwaitEnd(*pid, kTimeoutMs)) return;
  kill(*pid, SIGQUIT);  // immediate
  AwaitEnd(*pid, kTimeoutMs);
}

absl::Status PrivatePostgres::EnsureRunning() {
  const base::MonotonicTime deadline = base::DeadlineIn(kStartTimeout);
  if (cluster_.RunningPid().has_value()) {
    const absl::Status ready =
        cluster_.AwaitReady(deadline, [&] { return cluster_.RunningPid().has_value(); });
    if (ready.ok()) return ready;
  }
  // A killed server's last backends hold its shared memory for a moment and make the next start fail.
  absl::Status status;
  do {
    ASSIGN_OR_RETURN(process::Subprocess server, cluster_.Start(Settings()));
    status = cluster_.AwaitReady(deadline, [&] { return !server.Poll().has_value(); });
    if (status.ok()) {
      server.Detach();  // found by its pid file from here on, like one of an earlier process
      return status;
    }
    std::this_thread::sleep_for(kRetryDelay);
  } while (absl::IsUnavailable(status) && std::chrono::steady_clock::now() < deadline);
  return status;
}

void PrivatePostgres::Supervise(std::stop_token stop) {
  while (!stop.stop_requested()) {
    const auto pid = cluster_.RunningPid();
    if (pid.has_value() && !AwaitEnd(*pid, kStopProbeMs)) continue;
    if (stop.stop_requested()) return;
    telemetry::Warn("PostgreSQL ended, starting it again", {{"data", cluster_.data_directory()}});
    const absl::Status status = EnsureRunning();
    if (!status.ok()) telemetry::Error("PostgreSQL does not start", {{"error", status}});
  }
}

}  // namespace dstack::server
