#include <string>

#include <catch2/catch.hpp>
#include <pqxx/pqxx>

#include "absl/strings/match.h"
#include "tests/component/store/store_fixture.h"

namespace dstack::server {
namespace {

// 50,000 finished runs with a job each, and 50 live ones.
void FillTables(const StoreFixture& f) {
  pqxx::connection connection(f.conninfo);
  pqxx::work tx(connection);
  tx.exec_params(
      "INSERT INTO runs (id, project_id, user_id, name, spec, status, priority, submitted_at,"
      " finished_at, next_wakeup_at)"
      " SELECT gen_random_uuid(), $1, $2, 'run-' || n, '\\x00',"
      " CASE WHEN n % 1000 = 0 THEN 'running' ELSE 'done' END, 0,"
      " now() - n * interval '1 second', now(),"
      " CASE WHEN n % 1000 = 0 THEN now() + interval '1 hour' END"
      " FROM generate_series(1, 50000) AS n",
      f.project.id.str(),
      f.user.id.str());
  tx.exec(
      "INSERT INTO jobs (id, run_id, project_id, name, replica_num, job_num, submission_num,"
      " priority, status, is_released, submitted_at)"
      " SELECT gen_random_uuid(), id, project_id, name || '-0-0', 0, 0, 0, 0,"
      " CASE WHEN status = 'done' THEN 'done' ELSE 'submitted' END, true, submitted_at FROM runs");
  tx.commit();
  pqxx::nontransaction(connection).exec("ANALYZE");
}

// Lines of the plan of a statement with its parameters written in.
std::string Plan(const StoreFixture& f, const std::string& sql) {
  pqxx::connection connection(f.conninfo);
  pqxx::work tx(connection);
  std::string plan;
  for (const auto& row : tx.exec("EXPLAIN " + sql)) plan += row[0].c_str() + std::string("\n");
  return plan;
}

TEST_CASE("no statement of the hot paths scans a large table") {
  StoreFixture f;
  FillTables(f);
  const std::string project = "'" + f.project.id.str() + "'";
  const std::string id = "'" + f.ids.NewId() + "'";
  struct Case {
    const char* name;
    std::string sql;
  };
  const std::vector<Case> cases = {
      {"first page of runs",
       "SELECT * FROM runs r JOIN projects p ON p.id = r.project_id WHERE r.project_id = " +
           project +
           " AND r.forgotten_at IS NULL"
           " AND (r.submitted_at, r.id) < ('infinity'::timestamptz, " +
           id + "::uuid) ORDER BY r.submitted_at DESC, r.id DESC LIMIT 101"},
      {"active runs",
       "SELECT * FROM runs r WHERE r.project_id = " + project +
           " AND r.forgotten_at IS NULL AND (r.submitted_at, r.id) < ('infinity'::timestamptz, " +
           id +
           "::uuid) AND r.status NOT IN ('terminated', 'failed', 'done')"
           " ORDER BY r.submitted_at DESC, r.id DESC LIMIT 101"},
      {"run by name",
       "SELECT * FROM runs r WHERE r.project_id = " + project +
           " AND r.name = 'run-7' AND r.forgotten_at IS NULL"},
      {"jobs of a run", "SELECT * FROM jobs j WHERE j.run_id = " + id},
      {"waiting jobs",
       "SELECT * FROM jobs j JOIN runs r ON r.id = j.run_id WHERE j.status = 'submitted'"
       " AND r.status NOT IN ('pending', 'terminating')"
       " ORDER BY j.priority DESC, j.submitted_at, j.id LIMIT 20"},
      {"jobs of a host",
       "SELECT * FROM jobs j WHERE j.instance_id = " + id + " AND NOT j.is_released"},
      {"due runs",
       "SELECT id FROM runs WHERE next_wakeup_at <= now()"
       " AND (claimed_until IS NULL OR claimed_until < now()) ORDER BY next_wakeup_at LIMIT 64"},
      {"names with a prefix",
       "SELECT name FROM runs WHERE project_id = " + project +
           " AND name >= 'wet-fox-' AND name < 'wet-fox-:' AND forgotten_at IS NULL"},
  };
  for (const Case& entry : cases) {
    const std::string plan = Plan(f, entry.sql);
    INFO(entry.name << "\n" << plan);
    CHECK_FALSE(absl::StrContains(plan, "Seq Scan on runs"));
    CHECK_FALSE(absl::StrContains(plan, "Seq Scan on jobs"));
  }
}

TEST_CASE("the stores themselves read only by index") {
  StoreFixture f;
  FillTables(f);
  const auto scans = [&] {
    pqxx::connection connection(f.conninfo);
    pqxx::nontransaction tx(connection);
    tx.exec("SELECT pg_stat_clear_snapshot(), pg_stat_force_next_flush()");
    return tx
        .exec(
            "SELECT sum(seq_scan) FROM pg_stat_user_tables"
            " WHERE relname IN ('runs', 'jobs')")[0][0]
        .as<int>();
  };
  const int before = scans();
  const Instance host = f.AddHosts("fleet", 1).front();
  const RunAndJobs run = f.Submit("train");
  REQUIRE(f.Assign(run, host).ok());
  CHECK(f.stores.jobs.LoadOfHost(host.id)->size() == 1);
  CHECK(f.stores.runs.Load(f.project.id, {.name = "train"}).ok());
  CHECK(f.stores.runs.ClaimDue(64, std::chrono::seconds(1)).ok());
  LogStore::Append append;
  append.job_id = run.jobs[0].id;
  append.batch.set_source(common::v1::LOG_SOURCE_JOB);
  append.batch.add_records()->set_sequence(1);
  CHECK(f.stores.logs.AppendAll({append}).ok());
  CHECK(f.stores.logs.Read({.job_id = run.jobs[0].id})->batch.records_size() == 1);
  CHECK(f.stores.runs.RequestStop(f.project.id, {"train"}, false, f.now()).ok());
  f.pool.CloseIdle();  // ended sessions report their counters
  CHECK(scans() == before);
}

}  // namespace
}  // namespace dstack::server
