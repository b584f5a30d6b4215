#include "services/server/database/private_postgres.h"

#include <chrono>

#include <catch2/catch.hpp>
#include <pqxx/pqxx>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/base/status.h"
#include "libs/process/alive.h"
#include "libs/process/reaper.h"
#include "libs/testing/await.h"
#include "libs/testing/temp_dir.h"

namespace dstack::server {
namespace {

using namespace std::chrono_literals;

void Execute(const PrivatePostgres& postgres, const std::string& sql) {
  pqxx::connection connection(postgres.conninfo());
  pqxx::work tx(connection);
  tx.exec(sql);
  tx.commit();
}

int CountNotes(const PrivatePostgres& postgres) {
  pqxx::connection connection(postgres.conninfo());
  pqxx::work tx(connection);
  return tx.exec("SELECT count(*) FROM notes")[0][0].as<int>();
}

// Kills with SIGKILL and waits until the supervisor has another server up.
void KillAndAwaitNext(const PrivatePostgres& postgres) {
  const auto before = postgres.pid();
  REQUIRE(before.has_value());
  REQUIRE(kill(*before, SIGKILL) == 0);
  testing::Await(20s, [&] {
    const auto now = postgres.pid();
    if (!now || now == before) return false;
    try {
      const pqxx::connection connection(postgres.conninfo());
      return true;
    } catch (const pqxx::broken_connection&) {
      return false;
    }
  });
}

TEST_CASE("a private database keeps its data over stop, start and kill") {
  testing::TempDir directory;
  const std::string home = directory.Path("postgres");
  {
    const auto postgres = PrivatePostgres::Start(home);
    INFO(postgres.status());
    REQUIRE(postgres.ok());
    Execute(**postgres, "CREATE TABLE notes (id integer)");
    Execute(**postgres, "INSERT INTO notes VALUES (1)");
    KillAndAwaitNext(**postgres);
    CHECK(CountNotes(**postgres) == 1);
    KillAndAwaitNext(**postgres);
    Execute(**postgres, "INSERT INTO notes VALUES (2)");
  }
  const auto postgres = PrivatePostgres::Start(home);
  REQUIRE(postgres.ok());
  CHECK(CountNotes(**postgres) == 2);
}

TEST_CASE("only we can reach a private database, and it does not run as root") {
  testing::TempDir directory;
  const std::string home = directory.Path("postgres");
  const auto postgres = PrivatePostgres::Start(home);
  REQUIRE(postgres.ok());
  for (const char* name : {"", "/data", "/run"}) {
    struct stat info = {};
    REQUIRE(stat((home + name).c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0700);
  }
  struct stat process = {};
  REQUIRE(stat(("/proc/" + std::to_string(*(*postgres)->pid())).c_str(), &process) == 0);
  CHECK(process.st_uid != 0);
  pqxx::connection connection((*postgres)->conninfo());
  pqxx::nontransaction tx(connection);
  CHECK(tx.exec("SHOW listen_addresses")[0][0].as<std::string>().empty());
}

// A server process that holds the private database and is killed: the pid of the database, which
// goes on and has an empty table `notes`.
pid_t StartAndOutlive(const std::string& home) {
  const pid_t child = fork();
  if (child == 0) {
    const auto postgres = PrivatePostgres::Start(home);
    if (!postgres.ok()) _exit(1);
    Execute(**postgres, "CREATE TABLE notes (id integer)");
    kill(getpid(), SIGKILL);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  REQUIRE(WIFSIGNALED(status));
  const auto cluster = PostgresCluster::At(home);
  REQUIRE(cluster.ok());
  const auto survivor = cluster->RunningPid();
  REQUIRE(survivor.has_value());
  return *survivor;
}

TEST_CASE("a database that outlived its server is used on") {
  testing::TempDir directory;
  const std::string home = directory.Path("postgres");
  const pid_t survivor = StartAndOutlive(home);
  const auto postgres = PrivatePostgres::Start(home);
  REQUIRE(postgres.ok());
  CHECK((*postgres)->pid() == survivor);
  CHECK(CountNotes(**postgres) == 0);
  KillAndAwaitNext(**postgres);
  CHECK(CountNotes(**postgres) == 0);
}

TEST_CASE("a database whose server was killed and is collected by nobody is started again") {
  testing::TempDir directory;
  const std::string home = directory.Path("postgres");
  // Orphans come to this process, which leaves them as they are.
  REQUIRE(process::BecomeSubreaper().ok());
  const pid_t survivor = StartAndOutlive(home);
  REQUIRE(kill(survivor, SIGKILL) == 0);
  testing::Await(5s, [&] { return process::IsZombie(survivor); });
  {
    const auto postgres = PrivatePostgres::Start(home);
    INFO(postgres.status());
    REQUIRE(postgres.ok());
    CHECK((*postgres)->pid() != survivor);
    CHECK(CountNotes(**postgres) == 0);
  }
  process::ReapOrphans({});
}

TEST_CASE("one server process uses a private database at a time") {
  testing::TempDir directory;
  const auto first = PrivatePostgres::Start(directory.path());
  REQUIRE(first.ok());
  const auto second = PrivatePostgres::Start(directory.path());
  CHECK(second.status().code() == absl::StatusCode::kFailedPrecondition);
  CHECK(base::Reason(second.status()) == "DATABASE_UNAVAILABLE");
}

TEST_CASE("a private database may lie deeper than a socket address is long") {
  testing::TempDir directory;
  const std::string home = directory.Path(std::string(60, 'a') + "/" + std::string(60, 'b'));
  const auto postgres = PrivatePostgres::Start(home);
  INFO(postgres.status());
  REQUIRE(postgres.ok());
  Execute(**postgres, "CREATE TABLE notes (id integer)");
}

TEST_CASE("an initdb that was killed half-way is done again") {
  testing::TempDir directory;
  REQUIRE(base::MakeDirs(directory.Path("data.new/base"), 0700).ok());
  CHECK(PrivatePostgres::Start(directory.path()).ok());
}

}  // namespace
}  // namespace dstack::server
