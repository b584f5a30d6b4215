#include <chrono>
#include <set>
#include <thread>

#include <catch2/catch.hpp>

#include "absl/strings/match.h"
#include "libs/base/status.h"
#include "tests/component/store/store_fixture.h"

namespace dstack::server {
namespace {

using namespace std::chrono_literals;
using absl::StatusCode;
using api::v1::JOB_STATUS_SUBMITTED;
using api::v1::JOB_STATUS_TERMINATED;
using api::v1::RUN_STATUS_SUBMITTED;
using api::v1::RUN_STATUS_TERMINATED;

TEST_CASE("a run is stored with its jobs and comes back the same") {
  StoreFixture f;
  const RunAndJobs stored = f.Submit("train", 2);
  const auto loaded = f.stores.runs.Load(f.project.id, {.name = "train"});
  REQUIRE(loaded.ok());
  CHECK(loaded->run.id == stored.run.id);
  CHECK(loaded->run.project_name == "main");
  CHECK(loaded->run.user_name == "ann");
  CHECK(loaded->run.status == RUN_STATUS_SUBMITTED);
  CHECK(loaded->run.version == 1);
  CHECK(loaded->run.submitted_at == stored.run.submitted_at);
  CHECK(loaded->run.spec.run_name() == "train");
  CHECK(loaded->run.spec.configuration().has_task());
  REQUIRE(loaded->jobs.size() == 2);
  CHECK(loaded->jobs[0].name == "train-0-0");
  CHECK(loaded->jobs[1].name == "train-1-0");
  CHECK(loaded->jobs[1].status == JOB_STATUS_SUBMITTED);
  CHECK(loaded->jobs[1].is_released);
  CHECK(f.stores.runs.LoadById(stored.run.id)->run.name == "train");
  CHECK(f.stores.runs.Load(f.project.id, {.id = stored.run.id.str()})->run.name == "train");
}

TEST_CASE("what does not exist, or lies in another project, is not found") {
  StoreFixture f;
  const RunAndJobs run = f.Submit("train");
  const ProjectId other(f.ids.NewId());
  for (const RunKey& key : {RunKey{.name = "nope"},
                            RunKey{.id = f.ids.NewId()},
                            RunKey{.id = "not an id"},
                            RunKey{.name = std::string("train\0x", 7)}}) {
    const auto missing = f.stores.runs.Load(f.project.id, key);
    CHECK(missing.status().code() == StatusCode::kNotFound);
    CHECK(base::Reason(missing.status()) == "RUN_NOT_FOUND");
  }
  CHECK(f.stores.runs.Load(other, {.name = "train"}).status().code() == StatusCode::kNotFound);
  CHECK(f.stores.runs.Load(other, {.id = run.run.id.str()}).status().code() ==
        StatusCode::kNotFound);
}

TEST_CASE("the same request_id gives the same run") {
  StoreFixture f;
  NewRun first = f.MakeRun("");
  first.request_id = "r1";
  first.request_digest = "d1";
  const auto made = f.stores.runs.Insert(first);
  REQUIRE(made.ok());

  NewRun repeat = f.MakeRun("");
  repeat.request_id = "r1";
  repeat.request_digest = "d1";
  const auto again = f.stores.runs.Insert(repeat);
  REQUIRE(again.ok());
  CHECK(again->run.id == made->run.id);
  CHECK(again->run.name == made->run.name);
  CHECK(again->jobs.size() == 1);

  repeat.request_digest = "d2";
  const auto reused = f.stores.runs.Insert(repeat);
  CHECK(reused.status().code() == StatusCode::kInvalidArgument);
  CHECK(base::Reason(reused.status()) == "REQUEST_ID_REUSED");
}

TEST_CASE("concurrent repeats of a request make one run") {
  StoreFixture f;
  std::vector<std::string> ids(8);
  {
    std::vector<std::jthread> threads;
    for (std::string& id : ids) {
      threads.emplace_back([&] {
        NewRun run = f.MakeRun("once");
        run.request_id = "r1";
        run.request_digest = "d";
        const auto made = f.stores.runs.Insert(run);
        if (made.ok()) id = made->run.id.str();
      });
    }
  }
  CHECK(std::set<std::string>(ids.begin(), ids.end()).size() == 1);
  CHECK_FALSE(ids.front().empty());
}

TEST_CASE("concurrent runs of one name: one is active, the others are refused") {
  StoreFixture f;
  std::atomic<int> made = 0;
  std::atomic<int> refused = 0;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 8; ++i) {
      threads.emplace_back([&] {
        const auto run = f.stores.runs.Insert(f.MakeRun("same"));
        if (run.ok()) ++made;
        if (base::Reason(run.status()) == "RUN_ACTIVE") ++refused;
      });
    }
  }
  CHECK(made == 1);
  CHECK(refused == 7);
}

TEST_CASE("a plan that is out of date is refused, a forced one is not") {
  StoreFixture f;
  const RunAndJobs active = f.Submit("train");
  NewRun next = f.MakeRun("train");
  next.expected_current_run_id = "";
  CHECK(base::Reason(f.stores.runs.Insert(next).status()) == "CHANGED_SINCE_PLAN");
  next.expected_current_run_id = active.run.id.str();
  CHECK(base::Reason(f.stores.runs.Insert(next).status()) == "RUN_ACTIVE");

  REQUIRE(f.stores.runs.RequestStop(f.project.id, {"train"}, false, f.now()).ok());
  CHECK(base::Reason(f.stores.runs.Insert(next).status()) == "CHANGED_SINCE_PLAN");
  next.expected_current_run_id = std::nullopt;
  const auto replaced = f.stores.runs.Insert(next);
  REQUIRE(replaced.ok());
  CHECK(f.stores.runs.Load(f.project.id, {.name = "train"})->run.id == replaced->run.id);
  // The finished one is forgotten, but whoever watches it by id still can.
  CHECK(f.stores.runs.List({.project_id = f.project.id})->runs.size() == 1);
  CHECK(f.stores.runs.LoadById(active.run.id).ok());
}

TEST_CASE("generated names are words and the lowest free number") {
  StoreFixture f;
  for (int i = 0; i < 5; ++i) {
    const RunAndJobs run = f.Submit("");
    CHECK(absl::EndsWith(run.run.name, "-1"));
    CHECK(run.jobs[0].name == run.run.name + "-0-0");
    CHECK(run.run.spec.run_name() == run.run.name);
  }
}

TEST_CASE("pages are stable while runs are added") {
  StoreFixture f;
  std::vector<std::string> expected;
  for (int i = 0; i < 7; ++i) expected.insert(expected.begin(), f.Submit("").run.id.str());
  std::vector<std::string> seen;
  RunFilter filter{.project_id = f.project.id, .page_size = 3};
  int pages = 0;
  do {
    const auto page = f.stores.runs.List(filter);
    REQUIRE(page.ok());
    REQUIRE(page->runs.size() <= 3);
    for (const RunAndJobs& run : page->runs) {
      seen.push_back(run.run.id.str());
      CHECK(run.jobs.size() == 1);
    }
    filter.page_token = page->next_page_token;
    ++pages;
    f.Submit("");
  } while (!filter.page_token.empty());
  CHECK(pages == 3);
  CHECK(seen == expected);

  filter.page_token = "nonsense";
  CHECK(base::Reason(f.stores.runs.List(filter).status()) == "INVALID_PAGE_TOKEN");
}

TEST_CASE("lists can be limited to active runs and to a user") {
  StoreFixture f;
  f.Submit("a");
  f.Submit("b");
  REQUIRE(f.stores.runs.RequestStop(f.project.id, {"a"}, false, f.now()).ok());
  const auto active = f.stores.runs.List({.project_id = f.project.id, .only_active = true});
  REQUIRE(active->runs.size() == 1);
  CHECK(active->runs[0].run.name == "b");
  CHECK(f.stores.runs.List({.project_id = f.project.id, .user_name = "ann"})->runs.size() == 2);
  CHECK(f.stores.runs.List({.project_id = f.project.id, .user_name = "bob"})->runs.empty());
}

TEST_CASE("a stop ends waiting jobs at once and names all that is missing") {
  StoreFixture f;
  f.Submit("a");
  f.Submit("b");
  const auto missing = f.stores.runs.RequestStop(f.project.id, {"x", "a", "y"}, false, f.now());
  CHECK(base::Reason(missing.status()) == "RUN_NOT_FOUND");
  CHECK(absl::StrContains(missing.status().message(), "x, y"));
  CHECK(f.stores.runs.Load(f.project.id, {.name = "a"})->run.status == RUN_STATUS_SUBMITTED);

  const auto stopped = f.stores.runs.RequestStop(f.project.id, {"b", "a"}, false, f.now());
  REQUIRE(stopped.ok());
  REQUIRE(stopped->size() == 2);
  CHECK(stopped->at(0).run.name == "b");
  CHECK(stopped->at(0).run.status == RUN_STATUS_TERMINATED);
  CHECK(stopped->at(0).run.version == 2);
  CHECK(stopped->at(0).jobs[0].status == JOB_STATUS_TERMINATED);
  // Once more changes nothing.
  const auto again = f.stores.runs.RequestStop(f.project.id, {"b"}, true, f.now());
  CHECK(again->at(0).run.version == 2);
  const auto loaded = f.stores.runs.Load(f.project.id, {.name = "b"});
  CHECK(loaded->run.status == RUN_STATUS_TERMINATED);
  CHECK(loaded->jobs[0].status == JOB_STATUS_TERMINATED);
}

TEST_CASE("only runs that have ended can be deleted") {
  StoreFixture f;
  f.Submit("a");
  f.Submit("b");
  REQUIRE(f.stores.runs.RequestStop(f.project.id, {"a"}, false, f.now()).ok());
  CHECK(base::Reason(f.stores.runs.Delete(f.project.id, {"a", "b"}, false)) == "RUN_ACTIVE");
  CHECK(base::Reason(f.stores.runs.Delete(f.project.id, {"a", "c"}, false)) == "RUN_NOT_FOUND");
  CHECK(f.stores.runs.Delete(f.project.id, {"a", "c"}, true).ok());
  CHECK_FALSE(f.stores.runs.Load(f.project.id, {.name = "a"}).ok());
  CHECK(f.stores.runs.Load(f.project.id, {.name = "b"}).ok());
}

TEST_CASE("an update in place needs the version that was planned") {
  StoreFixture f;
  const RunAndJobs run = f.Submit("train");
  api::v1::RunSpec spec = run.run.spec;
  spec.set_ssh_public_key("new key");
  const auto updated = f.stores.runs.UpdateSpec(run.run.id, run.run.version, spec, 7);
  REQUIRE(updated.ok());
  CHECK(updated->run.version == run.run.version + 1);
  const auto loaded = f.stores.runs.LoadById(run.run.id);
  CHECK(loaded->run.spec.ssh_public_key() == "new key");
  CHECK(loaded->run.priority == 7);
  CHECK(base::Reason(f.stores.runs.UpdateSpec(run.run.id, run.run.version, spec, 7).status()) ==
        "CHANGED_SINCE_PLAN");
}

TEST_CASE("a due run is claimed by one replica, and is free again after an evaluation") {
  StoreFixture f;
  NewRun due = f.MakeRun("due");
  due.run.status = api::v1::RUN_STATUS_PENDING;
  due.run.next_wakeup_at = f.now() - 1s;
  due.jobs.clear();
  REQUIRE(f.stores.runs.Insert(due).ok());
  f.Submit("not-due");
  const auto claimed = f.stores.runs.ClaimDue(10, 1h);
  REQUIRE(claimed.ok());
  REQUIRE(claimed->size() == 1);
  CHECK(claimed->front() == due.run.id);
  CHECK(f.stores.runs.ClaimDue(10, 1h)->empty());
  CHECK(f.stores.runs.Evaluate(due.run.id, f.now()).ok());
  CHECK(f.stores.runs.LoadById(due.run.id)->run.status == RUN_STATUS_SUBMITTED);
  CHECK(f.stores.runs.ClaimDue(10, 1h)->empty());
}

TEST_CASE("a spec lies sealed in the table") {
  StoreFixture f;
  NewRun run = f.MakeRun("train");
  run.run.spec.set_ssh_public_key("find me");
  REQUIRE(f.stores.runs.Insert(run).ok());
  pqxx::connection connection(f.conninfo);
  pqxx::work tx(connection);
  const auto rows =
      tx.exec("SELECT count(*) FROM runs WHERE position('find me'::bytea IN spec) > 0");
  CHECK(rows[0][0].as<int>() == 0);
}

}  // namespace
}  // namespace dstack::server
