#pragma once

#include <memory>
#include <string>
#include <thread>

#include <absl/status/statusor.h>

#include "libs/base/mutex.h"
#include "services/server/database/postgres_cluster.h"

namespace dstack::server {

// A PostgreSQL of our own: initdb on the first start, a Unix socket only, never as root. Ends with the
// server. One that survived a server that was killed is found and used on; one that dies is started again.
// Thread-safe.
class PrivatePostgres {
 public:
  // `directory` is made with mode 0700. Blocks until connections are accepted.
  static absl::StatusOr<std::unique_ptr<PrivatePostgres>> Start(const std::string& directory);
  // Fast shutdown: open transactions are rolled back.
  ~PrivatePostgres();
  PrivatePostgres(const PrivatePostgres&) = delete;
  PrivatePostgres& operator=(const PrivatePostgres&) = delete;

  // libpq connection string; valid while this object lives, also over a restart.
  const std::string& conninfo() const { return conninfo_; }

 private:
  explicit PrivatePostgres(PostgresCluster cluster);
  // Starts the server unless one runs, and waits until it accepts connections.
  absl::Status EnsureRunning();
  void Supervise(std::stop_token stop);

  const PostgresCluster cluster_;
  const std::string conninfo_;
  std::jthread supervisor_;
};

}  // namespace dstack::server
