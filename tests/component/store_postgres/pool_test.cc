#include <atomic>
#include <chrono>
#include <thread>

#include <catch2/catch.hpp>

#include "libs/base/status.h"
#include "libs/db/transaction.h"
#include "libs/testing/mini_postgres.h"

namespace dstack::db {
namespace {

using namespace std::chrono_literals;

absl::StatusOr<int> Select(pqxx::work& tx) { return tx.exec("SELECT 7")[0][0].as<int>(); }

TEST_CASE("a transaction commits what succeeds and rolls back what fails") {
  Pool pool({.conninfo = testing::MiniPostgres::Get().NewDatabase()});
  REQUIRE(InTransaction(pool, Within(5s), [](pqxx::work& tx) {
            tx.exec("CREATE TABLE t (id integer PRIMARY KEY)");
            return absl::OkStatus();
          }).ok());
  const auto refused = InTransaction(pool, Within(5s), [](pqxx::work& tx) {
    tx.exec("INSERT INTO t VALUES (1)");
    return base::Invalid("no");
  });
  CHECK(refused.code() == absl::StatusCode::kInvalidArgument);
  const auto count = InTransaction(pool, Within(5s), [](pqxx::work& tx) -> absl::StatusOr<int> {
    return tx.exec("SELECT count(*) FROM t")[0][0].as<int>();
  });
  CHECK(*count == 0);
  const auto twice = InTransaction(pool, Within(5s), [](pqxx::work& tx) {
    tx.exec("INSERT INTO t VALUES (1)");
    tx.exec("INSERT INTO t VALUES (1)");
    return absl::OkStatus();
  });
  CHECK(twice.code() == absl::StatusCode::kAlreadyExists);
  CHECK(base::Metadata(twice)["constraint"] == "t_pkey");
  const auto wrong = InTransaction(pool, Within(5s), [](pqxx::work& tx) {
    tx.exec("SELECT nonsense");
    return absl::OkStatus();
  });
  CHECK(wrong.code() == absl::StatusCode::kInternal);
}

TEST_CASE("the deadline cancels a statement, and the pool goes on") {
  Pool pool({.conninfo = testing::MiniPostgres::Get().NewDatabase(), .max_connections = 1});
  const auto begin = std::chrono::steady_clock::now();
  const auto late = InTransaction(pool, Within(100ms), [](pqxx::work& tx) {
    tx.exec("SELECT pg_sleep(60)");
    return absl::OkStatus();
  });
  CHECK(late.code() == absl::StatusCode::kDeadlineExceeded);
  CHECK(std::chrono::steady_clock::now() - begin < 10s);
  CHECK(*InTransaction(pool, Within(5s), Select) == 7);
}

TEST_CASE("an exhausted pool says so in time") {
  Pool pool({.conninfo = testing::MiniPostgres::Get().NewDatabase(), .max_connections = 1});
  const auto held = pool.Acquire(Within(5s));
  REQUIRE(held.ok());
  const auto none = pool.Acquire(Within(50ms));
  CHECK(none.status().code() == absl::StatusCode::kDeadlineExceeded);
  CHECK(base::Reason(none.status()) == "DATABASE_UNAVAILABLE");
}

TEST_CASE("an unreachable server is unavailable") {
  Pool pool({.conninfo = "host=/nonexistent dbname=x"});
  const auto status = InTransaction(pool, Within(200ms), Select).status();
  CHECK(status.code() == absl::StatusCode::kUnavailable);
  CHECK(base::Reason(status) == "DATABASE_UNAVAILABLE");
}

TEST_CASE("serialization failures and deadlocks run the transaction again") {
  Pool pool({.conninfo = testing::MiniPostgres::Get().NewDatabase()});
  int attempts = 0;
  const auto done = InTransaction(pool, Within(5s), [&](pqxx::work& tx) {
    if (++attempts < 3) tx.exec("DO $$ BEGIN RAISE serialization_failure; END $$");
    return absl::OkStatus();
  });
  CHECK(done.ok());
  CHECK(attempts == 3);
  attempts = 0;
  const auto never = InTransaction(pool, Within(5s), [&](pqxx::work& tx) {
    ++attempts;
    tx.exec("DO $$ BEGIN RAISE deadlock_detected; END $$");
    return absl::OkStatus();
  });
  CHECK(never.code() == absl::StatusCode::kAborted);
  CHECK(attempts == kMaxAttempts);
}

TEST_CASE("a restart of the server is survived by the next transaction") {
  auto& postgres = testing::MiniPostgres::Get();
  Pool pool({.conninfo = postgres.NewDatabase()});
  {
    std::vector<Pool::Lease> leases;
    for (int i = 0; i < 4; ++i) leases.push_back(*pool.Acquire(Within(5s)));
  }
  postgres.Crash();
  std::jthread restart([&] { postgres.Restart(); });
  CHECK(*InTransaction(pool, Within(20s), Select) == 7);
}

TEST_CASE("a connection that breaks inside a transaction is replaced") {
  Pool pool({.conninfo = testing::MiniPostgres::Get().NewDatabase()});
  int attempts = 0;
  const auto done = InTransaction(pool, Within(5s), [&](pqxx::work& tx) {
    if (++attempts == 1) tx.exec("SELECT pg_terminate_backend(pg_backend_pid())");
    return Select(tx);
  });
  REQUIRE(done.ok());
  CHECK(attempts == 2);
}

TEST_CASE("time limits of the client are added to both forms of an address") {
  CHECK(WithTimeouts("host=x connect_timeout=9").find("connect_timeout=5") == std::string::npos);
  CHECK(WithTimeouts("host=x").find(" connect_timeout=5") != std::string::npos);
  CHECK(WithTimeouts("postgres://x/y").find("?connect_timeout=5&") != std::string::npos);
  CHECK(WithTimeouts("postgresql://x/y?a=b").find("&connect_timeout=5") != std::string::npos);
}

}  // namespace
}  // namespace dstack::db
