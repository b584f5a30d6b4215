#pragma once

#include <memory>
#include <optional>
#include <string>
#include <thread>

#include <absl/status/statusor.h>

#include "libs/base/file.h"
#include "libs/process/subprocess.h"
#include "services/server/database/postgres_cluster.h"

namespace dstack::server {

// A PostgreSQL of our own: initdb on the first start, a Unix socket only, never as root. One that
// survived a server that was killed is found and used on; one that dies is started again.
// Thread-safe.
class PrivatePostgres {
 public:
  // `directory` is made with mode 0700. Blocks until connections are accepted.
  // FAILED_PRECONDITION when PostgreSQL is not installed, or when another server process uses the
  // directory; UNAVAILABLE with the end of PostgreSQL's log when it does not start.
  static absl::StatusOr<std::unique_ptr<PrivatePostgres>> Start(const std::string& directory);
  // Fast shutdown: open transactions are rolled back.
  ~PrivatePostgres();
  PrivatePostgres(const PrivatePostgres&) = delete;
  PrivatePostgres& operator=(const PrivatePostgres&) = delete;

  // libpq connection string; valid while this object lives, also over a restart.
  const std::string& conninfo() const { return conninfo_; }
  // Process id of the present server; nothing while it is down.
  std::optional<pid_t> pid() const { return cluster_.RunningPid(); }

 private:
  PrivatePostgres(PostgresCluster cluster, base::UniqueFd lock);

  // Starts the server unless one runs, and waits until it accepts connections.
  absl::Status EnsureRunning();
  // Starts it until it stays.
  absl::Status StartServer(base::MonotonicTime deadline);
  // Thread of its own, until the end.
  void Supervise();
  // False: it is time to stop. True: the server has ended.
  bool AwaitEndOfServer();
  // False: it is time to stop.
  bool Pause(int timeout_ms);

  const PostgresCluster cluster_;
  const std::string conninfo_;
  const base::UniqueFd lock_;
  const base::UniqueFd stop_event_;
  // The server, when this process has started it. Supervisor's, once that runs.
  std::optional<process::Subprocess> child_;
  std::jthread supervisor_;
};

}  // namespace dstack::server
