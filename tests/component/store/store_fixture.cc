#include "tests/component/store/store_fixture.h"

#include <algorithm>
#include <chrono>

#include <catch2/catch.hpp>

#include "fmt/format.h"
#include "libs/db/migrator.h"
#include "services/server/store/migrations.h"

namespace dstack::server {
namespace {

using namespace std::chrono_literals;

int fleet_count = 0;

}  // namespace

std::string NewMigratedDatabase() {
  return testing::MiniPostgres::Get().NewDatabase("dstack", [](const std::string& conninfo) {
    return db::Migrate(conninfo, Migrations()).status();
  });
}

SshKeyPair TestKey(const std::string& name) {
  return {"ssh-ed25519 AAAA" + name, base::Secret("private " + name)};
}

StoreFixture::StoreFixture(const std::string& database)
    : conninfo(database),
      box(*SecretBox::Create(base::Secret(std::string(32, 'k')))),
      pool({.conninfo = conninfo, .max_connections = 8}),
      stores(StoreContext{pool, box, clock, ids}) {
  const auto made = stores.identities.CreateUser(
      "ann", api::v1::GLOBAL_ROLE_ADMIN, base::Secret("token"), TestKey("ann"));
  REQUIRE(made.ok());
  user = *made;
  const auto made_project = stores.identities.CreateProject("main", user, TestKey("main"));
  REQUIRE(made_project.ok());
  project = *made_project;
}

NewRun StoreFixture::MakeRun(const std::string& name, std::uint32_t job_count) {
  NewRun made;
  made.run.id = RunId(ids.NewId());
  made.run.project_id = project.id;
  made.run.project_name = project.name;
  made.run.user_id = user.id;
  made.run.user_name = user.name;
  made.run.name = name;
  made.run.spec.mutable_configuration()->mutable_task();
  made.run.submitted_at = clock.Now();
  for (std::uint32_t i = 0; i < job_count; ++i) {
    Job job;
    job.id = JobId(ids.NewId());
    job.job_num = i;
    made.jobs.push_back(job);
  }
  return made;
}

RunAndJobs StoreFixture::Submit(const std::string& name, std::uint32_t job_count) {
  clock.Advance(1ms);
  auto run = stores.runs.Insert(MakeRun(name, job_count));
  INFO(run.status());
  REQUIRE(run.ok());
  return *run;
}

FleetChange StoreFixture::MakeFleet(const std::string& name, std::uint32_t host_count) {
  const int fleet_number = ++fleet_count;
  FleetChange change;
  change.project_id = project.id;
  change.user_id = user.id;
  change.name = name;
  change.spec.mutable_configuration()->mutable_ssh_config()->set_user("root");
  (*change.spec.mutable_ssh_keys())["~/.ssh/id"] = "fleet private key";
  auto* variable = change.spec.mutable_configuration()->add_env();
  variable->set_name("TOKEN");
  variable->set_value("fleet secret");
  for (std::uint32_t i = 0; i < host_count; ++i) {
    NewHost host;
    host.id = InstanceId(ids.NewId());
    host.hostname = fmt::format("10.0.{}.{}", fleet_number, i);
    host.user = "root";
    host.identity_key_name = "~/.ssh/id";
    change.added.push_back(host);
  }
  return change;
}

std::vector<Instance> StoreFixture::AddHosts(const std::string& name,
                                             std::uint32_t host_count,
                                             std::uint32_t blocks) {
  FleetChange change = MakeFleet(name, host_count);
  for (NewHost& host : change.added) host.blocks = blocks;
  const auto fleet = stores.fleets.Apply(change, now());
  INFO(fleet.status());
  REQUIRE(fleet.ok());
  // The lease is by the database's clock and outlasts any test.
  REQUIRE(stores.instances.Heartbeat(replica, 1h, true).ok());
  const auto claimed = stores.instances.Claim(replica, 1000);
  REQUIRE(claimed.ok());
  std::vector<Instance> hosts;
  for (const auto& [instance, connection] : *claimed) {
    const auto up = stores.instances.Update(EpochOf(instance), now(), [](Instance& host) {
      host.status = api::v1::INSTANCE_STATUS_IDLE;
      host.resources.emplace().set_cpus(4);
      host.total_blocks = host.wanted_blocks;
      return true;
    });
    REQUIRE(up.ok());
    if (up->fleet_id == fleet->id) hosts.push_back(*up);
  }
  std::sort(hosts.begin(), hosts.end(), [](const Instance& a, const Instance& b) {
    return a.instance_num < b.instance_num;
  });
  return hosts;
}

absl::Status StoreFixture::Assign(const RunAndJobs& run,
                                  const Instance& host,
                                  std::uint32_t blocks) {
  Assignment assignment;
  assignment.job_id = run.jobs.front().id;
  assignment.instance_id = host.id;
  assignment.blocks = blocks;
  assignment.offer.set_instance_name(host.name);
  return stores.jobs.Assign(assignment, now());
}

absl::StatusOr<Job> StoreFixture::Change(const Instance& host,
                                         const JobId& job,
                                         const JobStore::Change& change) {
  return stores.jobs.Update(EpochOf(host), job, now(), change);
}

}  // namespace dstack::server
