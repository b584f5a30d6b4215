#include "services/server/database/postgres_cluster.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include <absl/strings/numbers.h>
#include <absl/strings/str_split.h>
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <libpq-fe.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libs/base/macros.h"
#include "libs/base/status.h"
#include "libs/process/alive.h"

namespace dstack::server {
namespace {

using namespace std::chrono_literals;

constexpr std::string_view kProgramRoot = "/usr/lib/postgresql";
constexpr std::string_view kUserName = "dstack";
// Descriptors of data/ and run/ in the server.
constexpr int kDataFd = 8;
constexpr int kRunFd = 9;
constexpr auto kInitTimeout = 60s;
// sun_path holds 107 bytes; PostgreSQL adds "/.s.PGSQL.5432".
constexpr std::size_t kMaxSocketDirectory = 107 - 14;

// Of a server, as the first line of its file says.
std::optional<pid_t> FirstPid(const std::string& text) {
  pid_t pid = 0;
  const bool is_pid = absl::SimpleAtoi(text.substr(0, text.find('\n')), &pid) && pid > 1;
  return is_pid && text.find('\n') != std::string::npos ? std::optional(pid) : std::nullopt;
}

std::string FdPath(int fd) { return fmt::format("/proc/self/fd/{}", fd); }

absl::StatusOr<base::UniqueFd> OpenDirectory(const std::string& path) {
  base::UniqueFd fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return base::ErrnoError(errno, path);
  return fd;
}

// Only what PostgreSQL needs: nothing of ours (tokens, PGDATA, PGOPTIONS) reaches it.
std::vector<std::string> CleanEnvironment() {
  return {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
          "LC_ALL=C.UTF-8",
          "TZ=UTC"};
}

// "15" from "/usr/lib/postgresql/15"; 0 for anything else.
int VersionOf(const std::filesystem::path& path) {
  int version = 0;
  return absl::SimpleAtoi(path.filename().string(), &version) ? version : 0;
}

// Last lines of the newest file in data/log.
std::string LogTail(const std::string& data) {
  std::error_code ignored;
  std::filesystem::path newest;
  for (const auto& entry : std::filesystem::directory_iterator(data + "/log", ignored)) {
    if (newest.empty() ||
        entry.last_write_time(ignored) > std::filesystem::last_write_time(newest, ignored)) {
      newest = entry.path();
    }
  }
  const auto text = base::ReadFile(newest.string());
  if (!text.ok()) return "no log";
  constexpr std::size_t kTailBytes = 600;
  return text->size() > kTailBytes ? text->substr(text->size() - kTailBytes) : *text;
}

}  // namespace

absl::StatusOr<std::optional<std::pair<uid_t, gid_t>>> PostgresUser() {
  if (geteuid() != 0) return std::nullopt;
  for (const char* name : {"postgres", "nobody"}) {
    passwd entry = {};
    passwd* found = nullptr;
    std::array<char, 4096> buffer = {};
    getpwnam_r(name, &entry, buffer.data(), buffer.size(), &found);
    if (found != nullptr) return std::make_pair(found->pw_uid, found->pw_gid);
  }
  return base::Error(
      absl::StatusCode::kFailedPrecondition,
      "DATABASE_UNAVAILABLE",
      "PostgreSQL does not run as root, and there is no user 'postgres' or 'nobody'");
}

absl::StatusOr<std::string> FindPostgresPrograms() {
  std::error_code ignored;
  std::filesystem::path best;
  for (const auto& entry : std::filesystem::directory_iterator(kProgramRoot, ignored)) {
    const bool is_complete = std::filesystem::exists(entry.path() / "bin/initdb", ignored) &&
                             std::filesystem::exists(entry.path() / "bin/postgres", ignored);
    if (is_complete && (best.empty() || VersionOf(entry.path()) > VersionOf(best))) {
      best = entry.path();
    }
  }
  if (!best.empty()) return (best / "bin").string();
  const auto in_path = process::FindProgram("initdb");
  if (in_path.ok()) return std::filesystem::path(*in_path).parent_path().string();
  return base::Error(absl::StatusCode::kFailedPrecondition,
                     "DATABASE_UNAVAILABLE",
                     "PostgreSQL is not installed: install the package 'postgresql', or give the "
                     "address of a database in DSTACK_DATABASE_URL");
}

absl::StatusOr<PostgresCluster> PostgresCluster::At(const std::string& directory) {
  PostgresCluster cluster;
  ASSIGN_OR_RETURN(cluster.programs_, FindPostgresPrograms());
  ASSIGN_OR_RETURN(cluster.user_, PostgresUser());
  std::array<char, PATH_MAX> real = {};
  if (realpath(directory.c_str(), real.data()) == nullptr) {
    return base::ErrnoError(errno, directory);
  }
  cluster.directory_ = real.data();
  cluster.data_ = cluster.directory_ + "/data";
  cluster.run_ = cluster.directory_ + "/run";
  RETURN_IF_ERROR(cluster.MakeOwned(cluster.run_));
  ASSIGN_OR_RETURN(base::UniqueFd socket_directory, OpenDirectory(cluster.run_));
  cluster.socket_host_ =
      cluster.run_.size() <= kMaxSocketDirectory ? cluster.run_ : FdPath(socket_directory.get());
  cluster.socket_directory_ = std::make_shared<base::UniqueFd>(std::move(socket_directory));
  return cluster;
}

absl::Status PostgresCluster::MakeOwned(const std::string& path) const {
  RETURN_IF_ERROR(base::MakeDirs(path, 0700));
  if (user_ && chown(path.c_str(), user_->first, user_->second) != 0) {
    return base::ErrnoError(errno, fmt::format("changing the owner of {}", path));
  }
  return absl::OkStatus();
}

absl::Status PostgresCluster::EnsureData() const {
  if (base::Exists(data_)) return absl::OkStatus();
  const std::string fresh = data_ + ".new";
  RETURN_IF_ERROR(base::RemoveAll(fresh));
  RETURN_IF_ERROR(MakeOwned(fresh));
  ASSIGN_OR_RETURN(const base::UniqueFd fd, OpenDirectory(fresh));
  process::Options options;
  options.env = CleanEnvironment();
  options.cwd = "/";
  options.inherit_fds = {{fd.get(), kDataFd}};
  options.user = user_;
  // Whoever can open the socket may do everything: run/ has mode 0700.
  RETURN_IF_ERROR(process::RunChecked({programs_ + "/initdb",
                                       "--pgdata=" + FdPath(kDataFd),
                                       "--no-sync",
                                       "--no-instructions",
                                       "--encoding=UTF8",
                                       "--locale=C.UTF-8",
                                       "--auth=trust",
                                       fmt::format("--username={}", kUserName)},
                                      kInitTimeout,
                                      options)
                      .status());
  if (rename(fresh.c_str(), data_.c_str()) != 0) return base::ErrnoError(errno, data_);
  return absl::OkStatus();
}

absl::StatusOr<process::Subprocess> PostgresCluster::Start(
    const std::vector<std::pair<std::string, std::string>>& settings, bool ends_with_thread) const {
  RETURN_IF_ERROR(DisownZombie(PidFile()));
  RETURN_IF_ERROR(DisownZombie(run_ + "/.s.PGSQL.5432.lock"));
  ASSIGN_OR_RETURN(const base::UniqueFd data, OpenDirectory(data_));
  ASSIGN_OR_RETURN(const base::UniqueFd run, OpenDirectory(run_));
  std::vector<std::string> argv;
  if (ends_with_thread) argv = {"setpriv", "--pdeathsig=QUIT", "--"};
  argv.push_back(programs_ + "/postgres");
  argv.insert(argv.end(), {"-D", FdPath(kDataFd)});
  std::vector<std::pair<std::string, std::string>> all = {
      {"listen_addresses", ""},
      {"unix_socket_directories", FdPath(kRunFd)},
      // Seven files, each overwritten a week later.
      {"logging_collector", "on"},
      {"log_filename", "postgresql-%a.log"},
      {"log_truncate_on_rotation", "on"},
      {"log_rotation_size", "0"},
  };
  all.insert(all.end(), settings.begin(), settings.end());
  for (const auto& [name, value] : all) {
    argv.insert(argv.end(), {"-c", fmt::format("{}={}", name, value)});
  }
  process::Options options;
  options.env = CleanEnvironment();
  options.cwd = "/";
  options.inherit_fds = {{data.get(), kDataFd}, {run.get(), kRunFd}};
  options.user = user_;
  return process::Subprocess::Start(argv, options);
}

// A server that was killed stays a zombie where nobody collects orphans, and PostgreSQL, which
// finds its number in use, would not start. Our number instead is passed over, because PostgreSQL
// takes it for its parent's; what else the file says is still checked, above all that nobody has
// the shared memory open.
absl::Status PostgresCluster::DisownZombie(const std::string& path) const {
  const std::string text = base::ReadFile(path).value_or("");
  const std::optional<pid_t> pid = FirstPid(text);
  if (!pid || !process::IsZombie(*pid)) return absl::OkStatus();
  const std::string fresh = path + ".new";
  RETURN_IF_ERROR(base::WriteFileAtomic(
      fresh, fmt::format("{}{}", getpid(), text.substr(text.find('\n'))), 0600));
  if (user_ && chown(fresh.c_str(), user_->first, user_->second) != 0) {
    return base::ErrnoError(errno, fresh);
  }
  return rename(fresh.c_str(), path.c_str()) == 0 ? absl::OkStatus()
                                                  : base::ErrnoError(errno, path);
}

std::string PostgresCluster::PidFile() const { return data_ + "/postmaster.pid"; }

std::optional<pid_t> PostgresCluster::RunningPid() const {
  const std::optional<pid_t> named = FirstPid(base::ReadFile(PidFile()).value_or(""));
  if (!named) return std::nullopt;
  const pid_t pid = *named;
  // The number may be that of a stranger by now; a server works inside its data directory.
  std::array<char, PATH_MAX> cwd = {};
  const ssize_t length =
      readlink(fmt::format("/proc/{}/cwd", pid).c_str(), cwd.data(), cwd.size() - 1);
  if (length <= 0 || data_ != cwd.data()) return std::nullopt;
  return pid;
}

std::string PostgresCluster::Conninfo(const std::string& database) const {
  // A value in quotes; backslash and quote are escaped.
  std::string host;
  for (const char c : socket_host_) {
    if (c == '\'' || c == '\\') host += '\\';
    host += c;
  }
  return fmt::format("host='{}' port=5432 user={} dbname={}", host, kUserName, database);
}

bool PostgresCluster::AcceptsConnections() const {
  return PQping((Conninfo("postgres") + " connect_timeout=2").c_str()) == PQPING_OK;
}

void PostgresCluster::PauseBeforeNextProbe() {
  // PostgreSQL tells nobody that it is ready; a start takes about a tenth of a second.
  std::this_thread::sleep_for(3ms);
}

absl::Status PostgresCluster::EndedEarly() const {
  return base::Error(
      absl::StatusCode::kUnavailable,
      "DATABASE_UNAVAILABLE",
      fmt::format("PostgreSQL in {} ended while it started: {}", directory_, LogTail(data_)));
}

absl::Status PostgresCluster::NotReady() const {
  return base::Error(
      absl::StatusCode::kDeadlineExceeded,
      "DATABASE_UNAVAILABLE",
      fmt::format("PostgreSQL in {} does not accept connections: {}", directory_, LogTail(data_)));
}

}  // namespace dstack::server
