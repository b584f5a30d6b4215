#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <sys/types.h>

#include "libs/base/clock.h"
#include "libs/base/file.h"
#include "libs/process/subprocess.h"

// The files and the process of one PostgreSQL cluster that belongs to us. It listens on a Unix
// socket only.
namespace dstack::server {

// User that PostgreSQL runs as: ours, or an unprivileged one when we are root, because postgres
// refuses to run as root. Absent: ours.
// FAILED_PRECONDITION when we are root and there is neither "postgres" nor "nobody".
absl::StatusOr<std::optional<std::pair<uid_t, gid_t>>> PostgresUser();

// Directory with the newest initdb and postgres: below /usr/lib/postgresql, otherwise in PATH.
// FAILED_PRECONDITION names the package when there are none.
absl::StatusOr<std::string> FindPostgresPrograms();

// Paths below the directory of a cluster: data/ and run/ belong to PostgresUser(), the rest to us.
//
// PostgreSQL reaches data/ and run/ through descriptors that it inherits (/proc/self/fd/N) and not
// by path: the directories above, for example /root or a temporary directory of mode 0700, need not
// be open to its user.
class PostgresCluster {
 public:
  // `directory` exists and belongs to us.
  static absl::StatusOr<PostgresCluster> At(const std::string& directory);

  // Makes the data directory unless there is one. Dying half-way leaves none.
  absl::Status EnsureData() const;

  // Starts the server on the data directory in a session of its own. `settings` are
  // postgresql.conf names and values. With `ends_with_thread` the kernel stops it (SIGQUIT) when
  // the calling thread ends.
  absl::StatusOr<process::Subprocess> Start(
      const std::vector<std::pair<std::string, std::string>>& settings,
      bool ends_with_thread = false) const;

  // Pid of a server that runs on this data directory now, whoever started it; nothing otherwise.
  std::optional<pid_t> RunningPid() const;

  // Waits until it accepts connections. UNAVAILABLE with the last lines of its log when `is_alive`
  // turns false, DEADLINE_EXCEEDED after the deadline.
  template <typename IsAlive>
  absl::Status AwaitReady(base::MonotonicTime deadline, IsAlive is_alive) const {
    while (!AcceptsConnections()) {
      if (!is_alive()) return EndedEarly();
      if (std::chrono::steady_clock::now() >= deadline) return NotReady();
      PauseBeforeNextProbe();
    }
    return absl::OkStatus();
  }
  bool AcceptsConnections() const;

  // libpq connection string of a database. Valid while this object or a copy of it lives.
  std::string Conninfo(const std::string& database) const;

  const std::string& data_directory() const { return data_; }

 private:
  PostgresCluster() = default;

  std::string PidFile() const;
  // `path`: a file that names the server's pid in its first line.
  absl::Status DisownZombie(const std::string& path) const;
  absl::Status EndedEarly() const;
  absl::Status NotReady() const;
  static void PauseBeforeNextProbe();
  // Makes `path` with mode 0700 for the server's user.
  absl::Status MakeOwned(const std::string& path) const;

  std::string programs_;
  std::optional<std::pair<uid_t, gid_t>> user_;
  std::string directory_;
  std::string data_;
  std::string run_;
  // Host parameter of connection strings: run/, or a descriptor of it where its path is too long
  // for a socket address.
  std::string socket_host_;
  std::shared_ptr<base::UniqueFd> socket_directory_;
};

}  // namespace dstack::server
