#include "services/server/domain/offer/match.h"

#include <catch2/catch.hpp>

namespace dstack::server {
namespace {

constexpr std::uint64_t kGiB = 1ULL << 30;

Instance Host(const std::string& name,
              std::uint32_t cpus,
              std::uint64_t memory_gib,
              std::uint32_t blocks = 1) {
  Instance instance;
  instance.id = InstanceId("id-" + name);
  instance.project_id = ProjectId("main");
  instance.fleet_name = "fleet";
  instance.name = name;
  instance.status = api::v1::INSTANCE_STATUS_IDLE;
  instance.container_runtime = "docker";
  instance.resources.emplace();
  instance.resources->set_cpus(cpus);
  instance.resources->set_memory_bytes(memory_gib * kGiB);
  instance.total_blocks = blocks;
  return instance;
}

api::v1::RunSpec Wants(std::int64_t cpus_min, std::uint64_t memory_min_gib) {
  api::v1::RunSpec spec;
  auto* resources = spec.mutable_configuration()->mutable_resources();
  resources->mutable_cpu()->mutable_count()->set_min(cpus_min);
  resources->mutable_memory()->set_min_bytes(memory_min_gib * kGiB);
  spec.mutable_configuration()->mutable_task();
  return spec;
}

WaitingJob Waiting(const std::string& id, const api::v1::RunSpec& spec) {
  WaitingJob waiting;
  waiting.job.id = JobId(id);
  waiting.job.project_id = ProjectId("main");
  waiting.run.spec = spec;
  return waiting;
}

TEST_CASE("an offer says why a host does not fit") {
  struct Row {
    const char* name;
    std::function<void(api::v1::RunSpec*, Instance*)> change;
    const char* reason;
  };
  const Row row = GENERATE(
      Row{"cpus",
          [](auto* spec, auto*) {
            spec->mutable_configuration()
                ->mutable_resources()
                ->mutable_cpu()
                ->mutable_count()
                ->set_min(9);
          },
          "needs 9 CPUs, has 8"},
      Row{"memory",
          [](auto* spec, auto*) {
            spec->mutable_configuration()->mutable_resources()->mutable_memory()->set_min_bytes(
                64 * kGiB);
          },
          "needs 64GB of memory, has 32GB"},
      Row{"exact count",
          [](auto* spec, auto*) {
            auto* count =
                spec->mutable_configuration()->mutable_resources()->mutable_cpu()->mutable_count();
            count->set_min(4);
            count->set_max(4);
          },
          "wants at most 4 CPUs, has 8"},
      Row{"gpu",
          [](auto* spec, auto*) {
            spec->mutable_configuration()
                ->mutable_resources()
                ->mutable_gpu()
                ->mutable_count()
                ->set_min(1);
          },
          "needs 1 GPU, has 0"},
      Row{"fleet",
          [](auto* spec, auto*) {
            spec->mutable_configuration()->mutable_profile()->add_fleets()->set_name("other");
          },
          "is not in a fleet that the run names"},
      Row{"process host",
          [](auto* spec, auto* host) {
            host->container_runtime = "process";
            spec->mutable_configuration()->set_image("debian");
          },
          "has no container engine, the run names an image"},
      Row{"privileged",
          [](auto* spec, auto*) { spec->mutable_configuration()->set_privileged(true); },
          "cannot run privileged containers: its kernel keeps capabilities back"},
      Row{"ending",
          [](auto*, auto* host) { host->status = api::v1::INSTANCE_STATUS_TERMINATING; },
          "is being given up"});
  INFO(row.name);
  api::v1::RunSpec spec = Wants(2, 8);
  Instance host = Host("fleet-0", 8, 32);
  row.change(&spec, &host);
  const auto offers = MatchInstances(spec, {host});
  REQUIRE(offers.size() == 1);
  CHECK(offers[0].availability() == api::v1::OFFER_AVAILABILITY_NOT_AVAILABLE);
  CHECK(offers[0].unavailable_reason() == row.reason);
}

TEST_CASE("a divided host offers the smallest share that suffices") {
  Instance host = Host("fleet-0", 8, 32, 4);
  const auto offers = MatchInstances(Wants(3, 8), {host});
  REQUIRE(offers.size() == 1);
  CHECK(offers[0].availability() == api::v1::OFFER_AVAILABILITY_IDLE);
  CHECK(offers[0].blocks() == 2);
  CHECK(offers[0].resources().cpus() == 4);
  CHECK(offers[0].resources().memory_bytes() == 16 * kGiB);

  host.busy_blocks = 3;
  const auto busy = MatchInstances(Wants(3, 8), {host});
  CHECK(busy[0].availability() == api::v1::OFFER_AVAILABILITY_BUSY);
  CHECK(busy[0].unavailable_reason() == "needs 2 of 4 blocks, 1 free");
}

TEST_CASE("usable offers come first") {
  Instance busy = Host("fleet-0", 8, 32);
  busy.busy_blocks = 1;
  const auto offers =
      MatchInstances(Wants(2, 8), {Host("fleet-2", 1, 1), busy, Host("fleet-1", 8, 32)});
  REQUIRE(offers.size() == 3);
  CHECK(offers[0].instance_name() == "fleet-1");
  CHECK(offers[1].instance_name() == "fleet-0");
  CHECK(offers[2].instance_name() == "fleet-2");
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
