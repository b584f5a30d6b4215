#include <catch2/catch.hpp>

#include "libs/base/sha256.h"
#include "libs/base/status.h"
#include "tests/component/store/store_fixture.h"

namespace dstack::server {
namespace {

using namespace std::chrono_literals;
using namespace api::v1;  // NOLINT: statuses read best without their package here

constexpr auto kDay = std::chrono::hours(24);

// Some times are the database's, some the server's: here they are the same.
struct Fixture : StoreFixture {
  Fixture() {
    clock.Advance(
        std::chrono::duration_cast<base::Duration>(std::chrono::system_clock::now() - clock.Now()));
  }
};

std::int64_t CountOf(const StoreFixture& f, const std::string& table) {
  pqxx::connection connection(f.conninfo);
  pqxx::work tx(connection);
  return tx.exec1("SELECT count(*) FROM " + table)[0].as<std::int64_t>();
}

void Age(const StoreFixture& f, const std::string& table, const std::string& column) {
  pqxx::connection connection(f.conninfo);
  pqxx::work tx(connection);
  tx.exec("UPDATE " + table + " SET " + column + " = " + column + " - interval '40 days'");
  tx.commit();
}

void DeleteAll(StoreFixture& f, const Retention& retention = Retention()) {
  while (true) {
    const auto count = f.stores.retention.DeleteSome(retention, 2, f.now());
    REQUIRE(count.ok());
    if (*count == 0) return;
  }
}

// A run that printed a line and ended now.
RunAndJobs EndedRun(StoreFixture& f, const std::string& name, const Instance& host) {
  const RunAndJobs run = f.Submit(name);
  REQUIRE(f.Assign(run, host).ok());
  LogStore::Append append{run.jobs[0].id, {}, /*is_end=*/true};
  append.batch.set_source(common::v1::LOG_SOURCE_JOB);
  auto* record = append.batch.add_records();
  record->set_sequence(1);
  record->set_data("hello");
  REQUIRE(f.stores.logs.AppendAll({append}).ok());
  REQUIRE(f.Change(host, run.jobs[0].id, [&f](Job& job) {
             job.status = JOB_STATUS_DONE;
             job.termination_reason = JOB_TERMINATION_REASON_DONE_BY_RUNNER;
             job.finished_at = f.clock.Now();
             job.logs_ended = true;
             job.is_released = true;
             return true;
           }).ok());
  return run;
}

UsageStore::Row PointOf(const std::string& id, TimePoint time) {
  UsageStore::Row row{.subject_id = id, .point = {}};
  row.point.mutable_time()->set_seconds(
      std::chrono::floor<std::chrono::seconds>(time.time_since_epoch()).count());
  return row;
}

std::size_t Points(StoreFixture& f, const std::string& id) {
  return f.stores.usage.Read(id, {.limit = 1000})->size();
}

TEST_CASE("logs of a job that ended long ago become one gap") {
  Fixture f;
  const Instance host = f.AddHosts("fleet", 1).front();
  const RunAndJobs run = EndedRun(f, "train", host);
  DeleteAll(f);
  CHECK(CountOf(f, "log_segments") == 1);
  f.clock.Advance(31 * kDay);
  DeleteAll(f);
  CHECK(CountOf(f, "log_segments") == 0);
  const auto read = f.stores.logs.Read({.job_id = run.jobs[0].id});
  REQUIRE(read.ok());
  CHECK(read->is_ended);
  REQUIRE(read->batch.records_size() == 1);
  CHECK(read->batch.records(0).dropped_bytes() > 0);
  CHECK(read->batch.records(0).sequence() == 1);
  CHECK(
      f.stores.logs.Read({.job_id = run.jobs[0].id, .after_sequence = 1})->batch.records().empty());
}

TEST_CASE("forgotten runs go with all that is theirs, active ones stay") {
  Fixture f;
  const Instance host = f.AddHosts("fleet", 1).front();
  const RunAndJobs run = EndedRun(f, "old", host);
  REQUIRE(f.stores.usage.Append({PointOf(run.jobs[0].id.str(), f.now())}).ok());
  f.Submit("waiting");
  REQUIRE(f.stores.runs.Delete(f.project.id, {"old"}, false).ok());
  DeleteAll(f, {.requests = 0s});
  CHECK(CountOf(f, "runs") == 2);
  Age(f, "runs", "forgotten_at");
  DeleteAll(f);
  CHECK(CountOf(f, "runs") == 1);
  CHECK(CountOf(f, "jobs") == 1);
  for (const char* table : {"log_segments", "log_streams", "usage_points"}) {
    CHECK(CountOf(f, table) == 0);
  }
}

TEST_CASE("points of running jobs are kept for an hour, the last hour of ended ones longer") {
  Fixture f;
  const Instance host = f.AddHosts("fleet", 1).front();
  const std::string ended = EndedRun(f, "ended", host).jobs[0].id.str();
  const std::string running = f.Submit("running").jobs[0].id.str();
  for (const std::string& id : {ended, running, host.id.str()}) {
    REQUIRE(f.stores.usage.Append({PointOf(id, f.now() - 90min), PointOf(id, f.now())}).ok());
  }
  DeleteAll(f);
  CHECK(Points(f, ended) == 2);
  CHECK(Points(f, running) == 1);
  CHECK(Points(f, host.id.str()) == 1);
  f.clock.Advance(8 * kDay);
  DeleteAll(f, {.usage_finished = 0s});
  CHECK(Points(f, ended) == 2);
  DeleteAll(f);
  CHECK(CountOf(f, "usage_points") == 0);
}

TEST_CASE("events and request ids go by age; zero keeps them") {
  Fixture f;
  f.Submit("train");
  Age(f, "events", "created_at");
  DeleteAll(f, {.events = 0s, .requests = 0s});
  CHECK(CountOf(f, "events") > 0);
  DeleteAll(f);
  CHECK(CountOf(f, "events") == 0);
  CHECK(CountOf(f, "requests") == 0);
}

TEST_CASE("a file goes when nobody has asked for it for long, and no run may need it") {
  Fixture f;
  const std::string digest = base::Sha256Hex("content");
  REQUIRE(f.stores.files.Put(f.user.id, digest, "content").ok());
  DeleteAll(f);
  CHECK(CountOf(f, "blobs") == 1);
  Age(f, "user_files", "created_at");
  SECTION("asked for again") {
    CHECK(f.stores.files.FindMissing(f.user.id, {digest})->empty());
    DeleteAll(f);
    CHECK(CountOf(f, "blobs") == 1);
  }
  SECTION("a run of the user is as old") {
    f.Submit("train");
    Age(f, "runs", "submitted_at");
    DeleteAll(f);
    CHECK(CountOf(f, "blobs") == 1);
  }
  SECTION("nobody needs it") {
    f.Submit("train");
    DeleteAll(f);
    CHECK(CountOf(f, "blobs") == 0);
    CHECK(f.stores.files.FindMissing(f.user.id, {digest})->size() == 1);
    REQUIRE(f.stores.files.Put(f.user.id, digest, "content").ok());
  }
}

TEST_CASE("one replica cleans up, and again after a while") {
  Fixture f;
  CHECK(*f.stores.retention.ClaimTurn(1h));
  CHECK_FALSE(*f.stores.retention.ClaimTurn(1h));
  Age(f, "chores", "next_at");
  CHECK(*f.stores.retention.ClaimTurn(1h));
}

}  // namespace
}  // namespace dstack::server
