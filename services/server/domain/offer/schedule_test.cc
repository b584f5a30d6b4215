#include "services/server/domain/offer/schedule.h"

#include <catch2/catch.hpp>

#include "services/server/domain/offer/test_hosts.h"

namespace dstack::server {
namespace {

WaitingJob Waiting(const std::string& id, const api::v1::RunSpec& spec) {
  WaitingJob waiting;
  waiting.job.id = JobId(id);
  waiting.job.project_id = ProjectId("main");
  waiting.run.spec = spec;
  return waiting;
}

TEST_CASE("two jobs share a divided host, a third one waits") {
  SchedulerSnapshot snapshot;
  snapshot.instances = {Host("fleet-0", 4, 16, 2)};
  for (const char* id : {"a", "b", "c"}) snapshot.jobs.push_back(Waiting(id, Wants(2, 4)));
  const SchedulerDecision decision = Schedule(snapshot);
  REQUIRE(decision.assignments.size() == 2);
  CHECK(decision.assignments[0].job_id == JobId("a"));
  CHECK(decision.assignments[1].job_id == JobId("b"));
  CHECK(decision.failures.empty());
}

TEST_CASE("a large job in front is not starved by small ones behind it") {
  Instance host = Host("fleet-0", 8, 32, 4);
  host.busy_blocks = 1;
  SchedulerSnapshot snapshot;
  snapshot.instances = {host};
  snapshot.jobs = {Waiting("large", Wants(8, 16)), Waiting("small", Wants(2, 4))};
  const SchedulerDecision decision = Schedule(snapshot);
  CHECK(decision.assignments.empty());
  CHECK(decision.failures.empty());
}

TEST_CASE("a job that no host can ever take fails and says why") {
  SchedulerSnapshot snapshot;
  snapshot.instances = {Host("fleet-0", 8, 32)};
  snapshot.jobs = {Waiting("huge", Wants(64, 16))};
  const SchedulerDecision decision = Schedule(snapshot);
  REQUIRE(decision.failures.size() == 1);
  CHECK(decision.failures[0].message == "no host fits: fleet-0: needs 64 CPUs, has 8");

  snapshot.instances.clear();
  CHECK(Schedule(snapshot).failures.at(0).message.rfind("no fleets", 0) == 0);
}

TEST_CASE(
    "a job waits for a host that is still being set up, unreachable or in another state of hope") {
  Instance host = Host("fleet-0", 8, 32);
  SECTION("set up") {
    host.status = api::v1::INSTANCE_STATUS_PROVISIONING;
    host.resources.reset();
  }
  SECTION("unreachable") { host.is_unreachable = true; }
  SchedulerSnapshot snapshot;
  snapshot.instances = {host};
  snapshot.jobs = {Waiting("a", Wants(2, 4))};
  const SchedulerDecision decision = Schedule(snapshot);
  CHECK(decision.assignments.empty());
  CHECK(decision.failures.empty());
}

TEST_CASE("a run stays in the fleet that it is bound to") {
  Instance other = Host("a-0", 8, 32);
  other.fleet_id = FleetId("a");
  Instance own = Host("b-0", 8, 32);
  own.fleet_id = FleetId("b");
  SchedulerSnapshot snapshot;
  snapshot.instances = {other, own};
  snapshot.jobs = {Waiting("x", Wants(2, 4))};
  snapshot.jobs[0].run.fleet_id = FleetId("b");
  REQUIRE(Schedule(snapshot).assignments.size() == 1);
  CHECK(Schedule(snapshot).assignments[0].instance_id == own.id);

  snapshot.instances[1].busy_blocks = 1;
  CHECK(Schedule(snapshot).assignments.empty());
  CHECK(Schedule(snapshot).failures.empty());

  snapshot.instances = {other};
  REQUIRE(Schedule(snapshot).failures.size() == 1);
  CHECK(Schedule(snapshot).failures[0].message ==
        "no host fits: a-0: is not in the fleet that the run began in");
}

TEST_CASE("a job waits for a host that is kept for another one") {
  Instance host = Host("fleet-0", 8, 32, 4);
  host.busy_blocks = 1;
  SchedulerSnapshot snapshot;
  snapshot.instances = {host};
  snapshot.jobs = {Waiting("large", Wants(8, 16)), Waiting("small", Wants(2, 4))};
  CHECK(Schedule(snapshot).failures.empty());
  snapshot.instances.push_back(Host("fleet-1", 4, 16));
  const SchedulerDecision decision = Schedule(snapshot);
  REQUIRE(decision.assignments.size() == 1);
  CHECK(decision.assignments[0].job_id == JobId("small"));
}

TEST_CASE("jobs get no host of another project") {
  Instance host = Host("fleet-0", 8, 32);
  host.project_id = ProjectId("other");
  SchedulerSnapshot snapshot;
  snapshot.instances = {host};
  snapshot.jobs = {Waiting("a", Wants(2, 4))};
  CHECK(Schedule(snapshot).assignments.empty());
}

}  // namespace
}  // namespace dstack::server
