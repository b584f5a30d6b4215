#include <chrono>
#include <set>
#include <thread>

#include <catch2/catch.hpp>

#include "libs/base/status.h"
#include "tests/component/store/store_fixture.h"

namespace dstack::server {
namespace {

using namespace std::chrono_literals;
using namespace api::v1;  // NOLINT: statuses read best without their package here

// Puts the end of a replica's lease into the past, as if it had been silent.
void ExpireLease(const StoreFixture& f, const std::string& replica) {
  pqxx::connection connection(f.conninfo);
  pqxx::work tx(connection);
  tx.exec_params("UPDATE replicas SET lease_expires_at = now() - interval '1 second' WHERE id = $1",
                 replica);
  tx.commit();
}

TEST_CASE("a claim gives the host and how to reach it") {
  StoreFixture f;
  FleetChange change = f.MakeFleet("fleet", 1);
  change.added[0].port = 2222;
  change.added[0].host_key = "ssh-ed25519 HOSTKEY";
  change.added[0].jump = NewHost::Jump{"jump.example", 2200, "jumper", "~/.ssh/id", ""};
  REQUIRE(f.stores.fleets.Apply(change, f.now()).ok());
  REQUIRE(f.stores.instances.Heartbeat("a", 1h, true).ok());
  const auto claimed = f.stores.instances.Claim("a", 10);
  REQUIRE(claimed.ok());
  REQUIRE(claimed->size() == 1);
  const auto& [instance, connection] = claimed->front();
  CHECK(instance.owner_replica_id == "a");
  CHECK(instance.owner_epoch == 1);
  CHECK(instance.status == INSTANCE_STATUS_PENDING);
  CHECK(instance.name == "fleet-0");
  CHECK(instance.port == 2222);
  CHECK(connection.host.hostname == change.added[0].hostname);
  CHECK(connection.host.port == 2222);
  CHECK(connection.host.user == "root");
  CHECK(connection.host.host_key == "ssh-ed25519 HOSTKEY");
  REQUIRE(connection.host.private_keys.size() == 2);
  CHECK(connection.host.private_keys[0].Reveal() == "fleet private key");
  CHECK(connection.host.private_keys[1].Reveal() == "private main");
  CHECK(connection.project_public_key == "ssh-ed25519 AAAAmain");
  REQUIRE(connection.jump.has_value());
  CHECK(connection.jump->hostname == "jump.example");
  CHECK(connection.jump->port == 2200);
  CHECK(connection.jump->private_keys.at(0).Reveal() == "fleet private key");
  REQUIRE(connection.env.size() == 1);
  CHECK(connection.env[0].second == "fleet secret");
  CHECK(f.stores.instances.LoadConnection(instance.id)->host.user == "root");
}

TEST_CASE("a host has one owner; another replica takes over when the lease has run out") {
  StoreFixture f;
  const Instance host = f.AddHosts("fleet", 1).front();
  REQUIRE(f.stores.instances.Heartbeat("other", 1h, true).ok());
  CHECK(f.stores.instances.Claim("other", 10)->empty());

  ExpireLease(f, f.replica);
  const auto lost = f.stores.instances.Heartbeat(f.replica, 1h, false);
  CHECK(lost.code() == absl::StatusCode::kNotFound);
  CHECK(f.stores.instances.Claim(f.replica, 10)->empty());
  const auto taken = f.stores.instances.Claim("other", 10);
  REQUIRE(taken->size() == 1);
  CHECK(taken->front().instance.owner_epoch == host.owner_epoch + 1);

  const auto late = f.stores.instances.Update(
      f.EpochOf(host), f.now(), [](Instance& changed) { return changed.is_unreachable = true; });
  CHECK(base::Reason(late.status()) == "LEASE_LOST");
  CHECK_FALSE(f.stores.instances.Load(host.id)->is_unreachable);
}

TEST_CASE("a replica that registers anew frees what it owned before") {
  StoreFixture f;
  f.AddHosts("fleet", 1);
  ExpireLease(f, f.replica);
  REQUIRE(f.stores.instances.Heartbeat(f.replica, 1h, true).ok());
  REQUIRE(f.stores.instances.Heartbeat(f.replica, 1h, false).ok());
  CHECK(f.stores.instances.Claim(f.replica, 10)->size() == 1);
}

TEST_CASE("a replica that retires frees its hosts at once") {
  StoreFixture f;
  f.AddHosts("fleet", 2);
  REQUIRE(f.stores.instances.Retire(f.replica).ok());
  REQUIRE(f.stores.instances.Heartbeat("other", 1h, true).ok());
  CHECK(f.stores.instances.Claim("other", 10)->size() == 2);
  CHECK(f.stores.instances.Claim("unknown", 10)->empty());
}

TEST_CASE("concurrent claims share the hosts without overlap") {
  StoreFixture f;
  REQUIRE(f.stores.fleets.Apply(f.MakeFleet("fleet", 20), f.now()).ok());
  std::vector<std::vector<ClaimedHost>> claims(4);
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < claims.size(); ++i) {
      threads.emplace_back([&, i] {
        const std::string replica = "r" + std::to_string(i);
        if (!f.stores.instances.Heartbeat(replica, 1h, true).ok()) return;
        for (int round = 0; round < 4; ++round) {
          auto claimed = f.stores.instances.Claim(replica, 3);
          if (!claimed.ok()) return;
          for (ClaimedHost& host : *claimed) claims[i].push_back(std::move(host));
        }
      });
    }
  }
  std::set<std::string> seen;
  std::size_t count = 0;
  for (const auto& claim : claims) {
    for (const ClaimedHost& host : claim) {
      seen.insert(host.instance.id.str());
      CHECK(host.instance.owner_epoch == 1);
      ++count;
    }
  }
  CHECK(count == 20);
  CHECK(seen.size() == 20);
}

TEST_CASE("facts of a host are stored; blocks are counted by jobs alone") {
  StoreFixture f;
  const Instance host = f.AddHosts("fleet", 1).front();
  REQUIRE(f.Assign(f.Submit("train"), host).ok());
  const auto updated = f.stores.instances.Update(f.EpochOf(host), f.now(), [](Instance& changed) {
    changed.status = INSTANCE_STATUS_IDLE;
    changed.busy_blocks = 0;
    changed.container_runtime = "docker";
    changed.has_privileged = true;
    changed.shim_version = "0.1.0";
    changed.host_key = "ssh-ed25519 KEY";
    changed.host_key_fingerprint = "SHA256:x";
    changed.status_message = "up";
    changed.resources.emplace().set_memory_bytes(1 << 30);
    return true;
  });
  REQUIRE(updated.ok());
  CHECK(updated->status == INSTANCE_STATUS_BUSY);
  const auto loaded = f.stores.instances.Load(host.id);
  CHECK(loaded->busy_blocks == 1);
  CHECK(loaded->status == INSTANCE_STATUS_BUSY);
  CHECK(loaded->container_runtime == "docker");
  CHECK(loaded->has_privileged);
  CHECK(loaded->shim_version == "0.1.0");
  CHECK(loaded->host_key == "ssh-ed25519 KEY");
  CHECK(loaded->host_key_fingerprint == "SHA256:x");
  CHECK(loaded->resources->memory_bytes() == 1 << 30);
  CHECK(loaded->fleet_name == "fleet");
}

// Those whose message begins with `start`.
std::vector<std::string> EventsOf(const StoreFixture& f,
                                  const InstanceId& id,
                                  const std::string& start) {
  pqxx::connection connection(f.conninfo);
  pqxx::work tx(connection);
  std::vector<std::string> messages;
  for (const auto& row :
       tx.exec_params("SELECT message FROM events WHERE target_id = $1 AND starts_with(message, $2)"
                      " ORDER BY id",
                      id.str(),
                      start)) {
    messages.push_back(row["message"].as<std::string>());
  }
  return messages;
}

TEST_CASE("a drained host gets no jobs and tells when it is empty") {
  StoreFixture f;
  const Instance host = f.AddHosts("fleet", 1, 2).front();
  const RunAndJobs run = f.Submit("train");
  REQUIRE(f.Assign(run, host).ok());
  const auto drained = f.stores.instances.SetDrain(host.id, "new kernel", f.user.id, f.now());
  REQUIRE(drained.ok());
  CHECK(drained->drain->reason == "new kernel");
  CHECK_FALSE(drained->is_drain_confirmed);
  CHECK(base::Reason(f.Assign(f.Submit("late"), host)) == "LEASE_LOST");

  REQUIRE(f.stores.instances
              .Update(f.EpochOf(host),
                      f.now(),
                      [](Instance& changed) { return changed.is_drain_confirmed = true; })
              .ok());
  REQUIRE(f.Change(host, run.jobs[0].id, [&f](Job& job) {
             job.status = JOB_STATUS_DONE;
             job.termination_reason = JOB_TERMINATION_REASON_DONE_BY_RUNNER;
             job.finished_at = f.clock.Now();
             job.is_released = true;
             return true;
           }).ok());
  const Instance empty = *f.stores.instances.Load(host.id);
  CHECK(empty.busy_blocks == 0);
  CHECK(empty.status == INSTANCE_STATUS_IDLE);

  const auto lifted = f.stores.instances.SetDrain(host.id, std::nullopt, f.user.id, f.now());
  CHECK_FALSE(lifted->drain.has_value());
  CHECK(EventsOf(f, host.id, "instance drain") ==
        std::vector<std::string>{"instance drain: set: new kernel",
                                 "instance drain: nothing runs on the host any more",
                                 "instance drain: lifted"});
  REQUIRE(f.Assign(f.Submit("later"), host).ok());
}

TEST_CASE("T6 a host that cannot be reached, and one that can again, are events") {
  StoreFixture f;
  const Instance host = f.AddHosts("fleet", 1).front();
  const auto set = [&](bool is_unreachable, const std::string& why) {
    const auto changed =
        f.stores.instances.Update(f.EpochOf(host), f.now(), [&](Instance& instance) {
          instance.is_unreachable = is_unreachable;
          instance.status_message = why;
          return true;
        });
    REQUIRE(changed.ok());
  };
  set(true, "the shim does not answer any more");
  set(true, "no route to host");
  set(false, "");
  set(false, "");
  CHECK(EventsOf(f, host.id, "instance is ") ==
        std::vector<std::string>{"instance is unreachable: the shim does not answer any more",
                                 "instance is reachable again"});
}

TEST_CASE("instances are listed by fleet and number, in pages") {
  StoreFixture f;
  f.AddHosts("b", 2);
  f.AddHosts("a", 2);
  std::vector<std::string> names;
  InstanceStore::Filter filter{.project_id = f.project.id, .page_size = 3};
  do {
    const auto page = f.stores.instances.List(filter);
    REQUIRE(page.ok());
    for (const Instance& instance : page->instances) names.push_back(instance.name);
    filter.page_token = page->next_page_token;
  } while (!filter.page_token.empty());
  CHECK(names == std::vector<std::string>{"a-0", "a-1", "b-0", "b-1"});
  CHECK(
      f.stores.instances.List({.project_id = f.project.id, .fleet_name = "b"})->instances.size() ==
      2);
  CHECK(f.stores.instances.List({.project_id = ProjectId(f.ids.NewId())})->instances.empty());
}

}  // namespace
}  // namespace dstack::server
