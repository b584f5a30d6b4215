#include "libs/db/migrator.h"

#include <atomic>
#include <thread>
#include <vector>

#include <catch2/catch.hpp>
#include <pqxx/pqxx>
#include <sys/wait.h>
#include <unistd.h>

#include "libs/base/status.h"
#include "libs/failpoint/failpoint.h"
#include "libs/testing/mini_postgres.h"

namespace dstack::db {
namespace {

const std::vector<Migration> kTwo = {{1, "one", "CREATE TABLE a (id integer);"},
                                     {2, "two", "CREATE TABLE b (id integer); SELECT 1;"}};

TEST_CASE("migrations are applied once") {
  const std::string conninfo = testing::MiniPostgres::Get().NewDatabase();
  CHECK(*Migrate(conninfo, {kTwo[0]}) == 1);
  CHECK(*Migrate(conninfo, kTwo) == 1);
  CHECK(*Migrate(conninfo, kTwo) == 0);
}

TEST_CASE("migrators that start at once do not disturb one another") {
  const std::string conninfo = testing::MiniPostgres::Get().NewDatabase();
  std::atomic<int> applied = 0;
  std::atomic<int> failed = 0;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 6; ++i) {
      threads.emplace_back([&] {
        const auto count = Migrate(conninfo, kTwo);
        if (count.ok()) {
          applied += *count;
        } else {
          ++failed;
        }
      });
    }
  }
  CHECK(failed == 0);
  CHECK(applied == 2);
}

TEST_CASE("a migrator that is killed half-way leaves whole steps") {
  const std::string conninfo = testing::MiniPostgres::Get().NewDatabase();
  const pid_t child = fork();
  if (child == 0) {
    static_cast<void>(failpoint::Arm("db.migration_before_commit", "after(1):crash"));
    static_cast<void>(Migrate(conninfo, kTwo));
    _exit(0);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  REQUIRE(WIFSIGNALED(status));
  CHECK(*Migrate(conninfo, kTwo) == 1);
}

TEST_CASE("a failing step changes nothing and is named") {
  const std::string conninfo = testing::MiniPostgres::Get().NewDatabase();
  std::vector<Migration> bad = kTwo;
  bad[1].sql = "CREATE TABLE b (id integer); SELECT nonsense;";
  const auto failed = Migrate(conninfo, bad);
  CHECK_FALSE(failed.ok());
  CHECK(base::Message(failed.status()).find("migration 2") != std::string_view::npos);
  CHECK(*Migrate(conninfo, kTwo) == 1);
}

TEST_CASE("a database of a newer version and an edited step are refused") {
  const std::string conninfo = testing::MiniPostgres::Get().NewDatabase();
  REQUIRE(Migrate(conninfo, kTwo).ok());
  CHECK(base::Reason(Migrate(conninfo, {kTwo[0]}).status()) == "VERSION_MISMATCH");
  std::vector<Migration> edited = kTwo;
  edited[0].sql = "CREATE TABLE c (id integer);";
  CHECK(base::Reason(Migrate(conninfo, edited).status()) == "VERSION_MISMATCH");
}

}  // namespace
}  // namespace dstack::db
