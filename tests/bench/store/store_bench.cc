// Cost of the database operations on the way of a job, on a private PostgreSQL with full
// durability.
#include <algorithm>
#include <chrono>
#include <functional>
#include <thread>
#include <vector>

#include <catch2/catch.hpp>

#include "fmt/format.h"
#include "libs/base/random.h"
#include "libs/db/migrator.h"
#include "libs/db/params.h"
#include "libs/testing/temp_dir.h"
#include "services/server/database/private_postgres.h"
#include "services/server/store/migrations.h"
#include "tests/component/store/store_fixture.h"

namespace dstack::server {
namespace {

using namespace std::chrono_literals;
using SteadyClock = std::chrono::steady_clock;

double Milliseconds(SteadyClock::duration duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

// Runs `action` so many times and prints its median and 99th percentile.
void Measure(const char* name, int count, const std::function<void(int)>& action) {
  std::vector<double> times;
  for (int i = 0; i < count; ++i) {
    const auto begin = SteadyClock::now();
    action(i);
    times.push_back(Milliseconds(SteadyClock::now() - begin));
  }
  std::sort(times.begin(), times.end());
  const auto at = [&](double share) {
    return times[static_cast<std::size_t>(share * static_cast<double>(times.size() - 1))];
  };
  fmt::print("{}_p50 {:.3f} ms\n{}_p99 {:.3f} ms\n", name, at(0.5), name, at(0.99));
}

// A durable database with the fixture's content.
struct Database {
  Database() {
    const auto begin = SteadyClock::now();
    postgres = *PrivatePostgres::Start(directory.Path("pg"));
    start_ms = Milliseconds(SteadyClock::now() - begin);
    REQUIRE(db::Migrate(postgres->conninfo(), Migrations()).ok());
    start_with_schema_ms = Milliseconds(SteadyClock::now() - begin);
  }
  void Restart() {
    postgres.reset();
    const auto begin = SteadyClock::now();
    postgres = *PrivatePostgres::Start(directory.Path("pg"));
    fmt::print("private_postgres_later_start {:.0f} ms\n",
               Milliseconds(SteadyClock::now() - begin));
  }
  testing::TempDir directory;
  std::unique_ptr<PrivatePostgres> postgres;
  double start_ms = 0;
  double start_with_schema_ms = 0;
};

LogStore::Append LogOf(const JobId& job, std::uint64_t sequence, std::size_t bytes) {
  LogStore::Append append;
  append.job_id = job;
  append.batch.set_source(common::v1::LOG_SOURCE_JOB);
  const std::string noise = base::SecureRandomBytes(std::min<std::size_t>(bytes, 32 << 10) / 2);
  const std::string data = noise + noise;
  for (std::size_t done = 0; done < bytes; done += data.size()) {
    auto* record = append.batch.add_records();
    record->set_sequence(sequence++);
    record->set_data(data);
  }
  return append;
}

TEST_CASE("life of a job") {
  Database database;
  fmt::print("private_postgres_first_start {:.0f} ms\n", database.start_ms);
  fmt::print("first_start_with_schema {:.0f} ms\n", database.start_with_schema_ms);
  StoreFixture f(database.postgres->conninfo());
  const Instance host = f.AddHosts("fleet", 1, 4000).front();
  std::vector<RunAndJobs> runs(1000);
  const auto count = static_cast<int>(runs.size());
  const auto at = [&](int i) -> RunAndJobs& { return runs[static_cast<std::size_t>(i)]; };
  Measure("run_insert", count, [&](int i) { at(i) = f.Submit(fmt::format("run-{}", i)); });
  Measure("job_assign", count, [&](int i) { REQUIRE(f.Assign(at(i), host).ok()); });
  Measure("job_update", count, [&](int i) {
    REQUIRE(f.Change(host, at(i).jobs[0].id, [&](Job& job) {
               job.status = api::v1::JOB_STATUS_RUNNING;
               return true;
             }).ok());
  });
  Measure("log_append_small", count, [&](int i) {
    REQUIRE(f.stores.logs.AppendAll({LogOf(at(i).jobs[0].id, 1, 100)}).ok());
  });
  Measure("log_append_1mib", 100, [&](int i) {
    REQUIRE(
        f.stores.logs
            .AppendAll({LogOf(at(0).jobs[0].id, static_cast<std::uint64_t>(i) * 32 + 2, 1 << 20)})
            .ok());
  });
  Measure("run_load", count, [&](int i) { REQUIRE(f.stores.runs.LoadById(at(i).run.id).ok()); });
}

TEST_CASE("writes of many threads") {
  Database database;
  StoreFixture f(database.postgres->conninfo());
  const std::vector<Instance> hosts = f.AddHosts("fleet", 4, 4000);
  constexpr int kPerThread = 300;
  const auto begin = SteadyClock::now();
  {
    std::vector<std::jthread> threads;
    for (const Instance& host : hosts) {
      threads.emplace_back([&] {
        for (int i = 0; i < kPerThread; ++i) {
          const auto run = f.stores.runs.Insert(f.MakeRun(""));
          if (!run.ok() || !f.Assign(*run, host).ok()) std::abort();
          for (const auto status : {api::v1::JOB_STATUS_RUNNING, api::v1::JOB_STATUS_DONE}) {
            const auto changed = f.Change(host, run->jobs[0].id, [&](Job& job) {
              job.status = status;
              job.termination_reason = api::v1::JOB_TERMINATION_REASON_DONE_BY_RUNNER;
              job.is_released = status == api::v1::JOB_STATUS_DONE;
              return true;
            });
            if (!changed.ok()) std::abort();
          }
        }
      });
    }
  }
  const double seconds = Milliseconds(SteadyClock::now() - begin) / 1000;
  fmt::print("jobs_through_the_stores {:.0f} 1/s\n",
             kPerThread * static_cast<double>(hosts.size()) / seconds);
}

TEST_CASE("lists over 100000 runs") {
  Database database;
  StoreFixture f(database.postgres->conninfo());
  {
    pqxx::connection connection(f.conninfo);
    pqxx::work tx(connection);
    const RunAndJobs pattern = f.Submit("pattern");
    // The sealed spec is bound to its run: all rows share nothing but their shape.
    for (int block = 0; block < 100; ++block) {
      pqxx::stream_to rows(
          tx,
          "runs",
          std::vector<std::string>{
              "id", "project_id", "user_id", "name", "spec", "status", "priority", "submitted_at"});
      for (int i = 0; i < 1000; ++i) {
        const RunId id(f.ids.NewId());
        rows << std::make_tuple(id.str(),
                                f.project.id.str(),
                                f.user.id.str(),
                                fmt::format("run-{}", block * 1000 + i),
                                db::BytesLiteral(f.box.Seal(pattern.run.spec.SerializeAsString(),
                                                            "runs.spec:" + id.str())),
                                std::string("done"),
                                0,
                                db::TimeLiteral(f.now() - std::chrono::seconds(block * 1000 + i)));
      }
      rows.complete();
    }
    tx.exec(
        "INSERT INTO jobs (id, run_id, project_id, name, replica_num, job_num, submission_num,"
        " priority, status, is_released, submitted_at)"
        " SELECT gen_random_uuid(), id, project_id, name || '-0-0', 0, 0, 0, 0, 'done', true,"
        " submitted_at FROM runs WHERE name LIKE 'run-%'");
    tx.commit();
    pqxx::nontransaction(connection).exec("ANALYZE");
  }
  RunFilter filter{.project_id = f.project.id, .page_size = 100};
  Measure("list_runs_100000", 300, [&](int) {
    const auto page = f.stores.runs.List(filter);
    REQUIRE(page.ok());
    filter.page_token = page->next_page_token;
  });
  database.Restart();
}

// What a minute of metrics costs: 100 hosts with two jobs each, a point of each every ten seconds,
// as one server writes them.
TEST_CASE("metrics") {
  Database database;
  StoreFixture f(database.postgres->conninfo());
  constexpr int kHosts = 100;
  constexpr int kSubjects = kHosts * 3;
  constexpr int kMinutes = 10;
  std::vector<std::string> ids;
  for (int i = 0; i < kSubjects; ++i) ids.push_back(f.ids.NewId());
  UsageStore::Row row;
  row.point.set_cpus_used(3.25);
  row.point.set_memory_used_bytes(12'345'678'901);
  row.point.set_network_received_bytes(123'456'789);
  row.point.set_network_sent_bytes(123'456'789);
  row.point.set_disk_read_bytes(123'456'789);
  row.point.set_disk_written_bytes(123'456'789);
  std::int64_t time = 1'700'000'000;
  Measure("usage_append_300", kMinutes * 6, [&](int) {
    std::vector<UsageStore::Row> rows;
    time += 10;
    for (const std::string& id : ids) {
      row.subject_id = id;
      row.point.mutable_time()->set_seconds(time);
      rows.push_back(row);
    }
    REQUIRE(f.stores.usage.Append(rows).ok());
  });
  pqxx::connection connection(database.postgres->conninfo());
  pqxx::nontransaction tx(connection);
  const auto bytes = tx.exec1("SELECT pg_total_relation_size('usage_points')")[0].as<double>();
  fmt::print("usage_bytes_per_host_minute {:.0f} B\n", bytes / (kHosts * kMinutes));
  fmt::print("usage_rows_per_host_minute {} rows\n", 6 * kSubjects / kHosts);
  // The server writes every five seconds, for all its hosts.
  fmt::print("usage_statements_per_minute {} statements\n", 12);
  Measure("usage_read_hour", 100, [&](int i) {
    REQUIRE(f.stores.usage.Read(ids[static_cast<std::size_t>(i)], {.limit = 1000}).ok());
  });
}

}  // namespace
}  // namespace dstack::server
