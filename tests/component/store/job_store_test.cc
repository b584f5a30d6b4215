#include <atomic>
#include <thread>

#include <catch2/catch.hpp>

#include "libs/base/status.h"
#include "tests/component/store/store_fixture.h"

namespace dstack::server {
namespace {

using namespace std::chrono_literals;
using namespace api::v1;  // NOLINT: statuses read best without their package here

// Ends a running job the way a host does: exit reported, then final, then the task removed.
bool Finish(Job& job) {
  job.status = JOB_STATUS_DONE;
  job.termination_reason = JOB_TERMINATION_REASON_DONE_BY_RUNNER;
  job.exit_status = 0;
  job.logs_ended = true;
  job.is_released = true;
  return true;
}

TEST_CASE("an assignment takes blocks and binds the run") {
  StoreFixture f;
  const Instance host = f.AddHosts("fleet", 1).front();
  const RunAndJobs run = f.Submit("train");
  REQUIRE(f.Assign(run, host).ok());
  const auto loaded = f.stores.jobs.Load(run.jobs[0].id);
  REQUIRE(loaded.ok());
  CHECK(loaded->job.status == JOB_STATUS_PROVISIONING);
  CHECK(loaded->job.instance_id == host.id);
  CHECK(loaded->job.instance_name == "fleet-0");
  CHECK_FALSE(loaded->job.is_released);
  CHECK(loaded->job.offer->instance_name() == "fleet-0");
  CHECK(loaded->run.status == RUN_STATUS_PROVISIONING);
  CHECK(loaded->run.fleet_name == "fleet");
  CHECK(loaded->run.version == 2);
  const auto busy = f.stores.instances.Load(host.id);
  CHECK(busy->status == INSTANCE_STATUS_BUSY);
  CHECK(busy->busy_blocks == 1);
  CHECK(f.stores.jobs.LoadOfHost(host.id)->size() == 1);
  // Once more: it does not wait any more.
  CHECK(base::Reason(f.Assign(run, host)) == "LEASE_LOST");
}

TEST_CASE("of many assignments of the last block exactly one wins") {
  StoreFixture f;
  const Instance host = f.AddHosts("fleet", 1, 3).front();
  std::vector<RunAndJobs> runs;
  for (int i = 0; i < 8; ++i) runs.push_back(f.Submit(""));
  std::atomic<int> won = 0;
  std::atomic<int> lost = 0;
  {
    std::vector<std::jthread> threads;
    for (const RunAndJobs& run : runs) {
      threads.emplace_back([&] {
        const absl::Status status = f.Assign(run, host, 2);
        if (status.ok()) ++won;
        if (base::Reason(status) == "LEASE_LOST") ++lost;
      });
    }
  }
  CHECK(won == 1);
  CHECK(lost == 7);
  CHECK(f.stores.instances.Load(host.id)->busy_blocks == 2);
}

TEST_CASE("the end of a job gives its blocks back once and ends the run in the same write") {
  StoreFixture f;
  const Instance host = f.AddHosts("fleet", 1).front();
  const RunAndJobs run = f.Submit("train");
  REQUIRE(f.Assign(run, host).ok());
  const JobId id = run.jobs[0].id;
  const auto running = f.Change(host, id, [&](Job& job) {
    job.status = JOB_STATUS_RUNNING;
    job.running_at = f.now();
    job.ssh_port = 4022;
    job.task_revision = 3;
    return true;
  });
  REQUIRE(running.ok());
  CHECK(running->ssh_port == 4022);
  CHECK(f.stores.runs.LoadById(run.run.id)->run.status == RUN_STATUS_RUNNING);

  REQUIRE(f.Change(host, id, Finish).ok());
  const auto ended = f.stores.runs.LoadById(run.run.id);
  CHECK(ended->run.status == RUN_STATUS_DONE);
  CHECK(ended->jobs[0].exit_status == 0);
  CHECK(ended->jobs[0].task_revision == 3);
  const auto idle = f.stores.instances.Load(host.id);
  CHECK(idle->status == INSTANCE_STATUS_IDLE);
  CHECK(idle->busy_blocks == 0);
  // The same report again gives nothing back twice.
  REQUIRE(f.Change(host, id, Finish).ok());
  CHECK(f.stores.instances.Load(host.id)->busy_blocks == 0);
  CHECK(f.stores.jobs.LoadOfHost(host.id)->empty());
}

TEST_CASE("two jobs that end at once on one host release both their blocks") {
  StoreFixture f;
  const Instance host = f.AddHosts("fleet", 1, 8).front();
  std::vector<RunAndJobs> runs;
  for (int i = 0; i < 8; ++i) {
    runs.push_back(f.Submit(""));
    REQUIRE(f.Assign(runs.back(), host).ok());
  }
  CHECK(f.stores.instances.Load(host.id)->busy_blocks == 8);
  std::atomic<int> failures = 0;
  {
    std::vector<std::jthread> threads;
    for (const RunAndJobs& run : runs) {
      threads.emplace_back([&] {
        if (!f.Change(host, run.jobs[0].id, Finish).ok()) ++failures;
      });
    }
  }
  CHECK(failures == 0);
  CHECK(f.stores.instances.Load(host.id)->busy_blocks == 0);
}

TEST_CASE("a final job never leaves its status and an old owner writes nothing") {
  StoreFixture f;
  const Instance host = f.AddHosts("fleet", 1).front();
  const RunAndJobs run = f.Submit("train");
  REQUIRE(f.Assign(run, host).ok());
  const JobId id = run.jobs[0].id;

  Instance old = host;
  --old.owner_epoch;
  const auto late = f.Change(old, id, Finish);
  CHECK(late.status().code() == absl::StatusCode::kAborted);
  CHECK(base::Reason(late.status()) == "LEASE_LOST");
  CHECK(f.stores.jobs.Load(id)->job.status == JOB_STATUS_PROVISIONING);

  REQUIRE(f.Change(host, id, Finish).ok());
  const auto revived = f.Change(host, id, [](Job& job) {
    job.status = JOB_STATUS_RUNNING;
    return true;
  });
  CHECK(base::Reason(revived.status()) == "INVALID_STATE");
  const auto taken = f.Change(host, id, [](Job& job) {
    job.is_released = false;
    return true;
  });
  CHECK(base::Reason(taken.status()) == "INVALID_STATE");
  CHECK(f.stores.jobs.Load(id)->job.status == JOB_STATUS_DONE);
}

TEST_CASE("a change that declines stores nothing") {
  StoreFixture f;
  const Instance host = f.AddHosts("fleet", 1).front();
  const RunAndJobs run = f.Submit("train");
  REQUIRE(f.Assign(run, host).ok());
  const auto before = f.stores.runs.LoadById(run.run.id)->run.version;
  const auto job = f.Change(host, run.jobs[0].id, [](Job& changed) {
    changed.ssh_port = 1;
    return false;
  });
  REQUIRE(job.ok());
  CHECK(job->ssh_port == 0);
  CHECK(f.stores.runs.LoadById(run.run.id)->run.version == before);
}

TEST_CASE("a stop of an assigned job asks its host") {
  StoreFixture f;
  const Instance host = f.AddHosts("fleet", 1).front();
  const RunAndJobs run = f.Submit("train");
  REQUIRE(f.Assign(run, host).ok());
  REQUIRE(f.stores.runs.RequestStop(f.project.id, {"train"}, false, f.now()).ok());
  const auto stopping = f.stores.jobs.LoadOfHost(host.id);
  REQUIRE(stopping->size() == 1);
  CHECK(stopping->front().job.status == JOB_STATUS_TERMINATING);
  CHECK(stopping->front().job.stop_grace.has_value());
  CHECK(stopping->front().run.status == RUN_STATUS_TERMINATING);
}

TEST_CASE("a waiting job can fail, once") {
  StoreFixture f;
  const RunAndJobs run = f.Submit("train");
  const auto fail = [&] {
    return f.stores.jobs.FailWaiting(run.jobs[0].id,
                                     JOB_TERMINATION_REASON_FAILED_TO_START_DUE_TO_NO_CAPACITY,
                                     "no host",
                                     f.now());
  };
  REQUIRE(fail().ok());
  const auto failed = f.stores.runs.LoadById(run.run.id);
  CHECK(failed->run.status == RUN_STATUS_FAILED);
  CHECK(failed->jobs[0].status == JOB_STATUS_FAILED);
  CHECK(failed->jobs[0].termination_message == "no host");
  CHECK(base::Reason(fail()) == "LEASE_LOST");
}

TEST_CASE("the scheduler sees waiting jobs by priority and age, and their hosts") {
  StoreFixture f;
  f.AddHosts("fleet", 2);
  const RunAndJobs first = f.Submit("first");
  const RunAndJobs second = f.Submit("second");
  NewRun urgent = f.MakeRun("urgent");
  urgent.run.priority = 50;
  REQUIRE(f.stores.runs.Insert(urgent).ok());
  const RunAndJobs stopped = f.Submit("stopped");
  REQUIRE(f.stores.runs.RequestStop(f.project.id, {"stopped"}, false, f.now()).ok());

  const auto snapshot = f.stores.jobs.LoadSchedulerSnapshot(10);
  REQUIRE(snapshot.ok());
  REQUIRE(snapshot->jobs.size() == 3);
  CHECK(snapshot->jobs[0].run.name == "urgent");
  CHECK(snapshot->jobs[1].run.name == "first");
  CHECK(snapshot->jobs[2].run.name == "second");
  CHECK(snapshot->instances.size() == 2);
  CHECK(f.stores.jobs.LoadSchedulerSnapshot(1)->jobs.size() == 1);
}

TEST_CASE("all live jobs of a silent host are marked and cleared") {
  StoreFixture f;
  const Instance host = f.AddHosts("fleet", 1, 2).front();
  const RunAndJobs a = f.Submit("a");
  const RunAndJobs b = f.Submit("b");
  REQUIRE(f.Assign(a, host).ok());
  REQUIRE(f.Assign(b, host).ok());
  const auto since = f.now();
  REQUIRE(f.stores.jobs.SetUnreachable(f.EpochOf(host), true, since).ok());
  f.clock.Advance(10s);
  REQUIRE(f.stores.jobs.SetUnreachable(f.EpochOf(host), true, f.now()).ok());
  CHECK(f.stores.jobs.Load(a.jobs[0].id)->job.unreachable_since == since);
  CHECK(f.stores.jobs.Load(b.jobs[0].id)->job.unreachable_since == since);
  CHECK(f.stores.runs.LoadById(a.run.id)->run.version == 3);
  REQUIRE(f.stores.jobs.SetUnreachable(f.EpochOf(host), false, f.now()).ok());
  CHECK_FALSE(f.stores.jobs.Load(a.jobs[0].id)->job.unreachable_since.has_value());

  HostEpoch old = f.EpochOf(host);
  --old.epoch;
  CHECK(base::Reason(f.stores.jobs.SetUnreachable(old, true, f.now())) == "LEASE_LOST");
}

TEST_CASE("messages with bytes that PostgreSQL refuses are stored readable") {
  StoreFixture f;
  const Instance host = f.AddHosts("fleet", 1).front();
  const RunAndJobs run = f.Submit("train");
  REQUIRE(f.Assign(run, host).ok());
  const auto job = f.Change(host, run.jobs[0].id, [](Job& changed) {
    Finish(changed);
    changed.termination_message = std::string("a\0b\xff", 4);
    return true;
  });
  REQUIRE(job.ok());
  CHECK(f.stores.jobs.Load(run.jobs[0].id)->job.termination_message ==
        "a\xEF\xBF\xBD"
        "b\xEF\xBF\xBD");
}

}  // namespace
}  // namespace dstack::server
