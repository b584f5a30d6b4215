#include <thread>

#include <catch2/catch.hpp>

#include "absl/strings/match.h"
#include "libs/base/status.h"
#include "tests/component/store/store_fixture.h"

namespace dstack::server {
namespace {

using namespace api::v1;  // NOLINT: statuses read best without their package here

// Its owner reports that a host is gone.
absl::Status End(StoreFixture& f, const Instance& host) {
  return f.stores.instances
      .Update(f.EpochOf(host),
              f.now(),
              [](Instance& changed) {
                changed.status = INSTANCE_STATUS_TERMINATED;
                return true;
              })
      .status();
}

TEST_CASE("a fleet comes back with its hosts and without its keys") {
  StoreFixture f;
  const auto made = f.stores.fleets.Apply(f.MakeFleet("fleet", 2), f.now());
  REQUIRE(made.ok());
  CHECK(made->name == "fleet");
  CHECK(made->project_name == "main");
  CHECK(made->status == FLEET_STATUS_ACTIVE);
  REQUIRE(made->instances.size() == 2);
  CHECK(made->instances[1].name == "fleet-1");
  CHECK(made->spec.ssh_keys().empty());
  CHECK(made->spec.configuration().env(0).value() == "fleet secret");
  CHECK(f.stores.fleets.Load(f.project.id, "fleet", "")->id == made->id);
  CHECK(f.stores.fleets.Load(f.project.id, "", made->id.str())->name == "fleet");
  CHECK(*f.stores.fleets.HasAny(f.project.id));
  CHECK_FALSE(*f.stores.fleets.HasAny(ProjectId(f.ids.NewId())));
  CHECK(base::Reason(f.stores.fleets.Load(f.project.id, "", "x").status()) == "FLEET_NOT_FOUND");

  pqxx::connection connection(f.conninfo);
  pqxx::work tx(connection);
  const auto rows = tx.exec(
      "SELECT count(*) FROM fleets f JOIN fleet_keys k ON k.fleet_id = f.id"
      " WHERE position('secret'::bytea IN f.spec) > 0"
      " OR position('private'::bytea IN k.private_key) > 0");
  CHECK(rows[0][0].as<int>() == 0);
}

TEST_CASE("repeats, taken names and old plans of a fleet") {
  StoreFixture f;
  FleetChange change = f.MakeFleet("fleet", 1);
  change.request_id = "r";
  change.request_digest = "d";
  const auto made = f.stores.fleets.Apply(change, f.now());
  REQUIRE(made.ok());
  CHECK(f.stores.fleets.Apply(change, f.now())->id == made->id);
  FleetChange other = f.MakeFleet("fleet", 1);
  CHECK(base::Reason(f.stores.fleets.Apply(other, f.now()).status()) == "NAME_TAKEN");
  other.expected_current_fleet_id = "";
  CHECK(base::Reason(f.stores.fleets.Apply(other, f.now()).status()) == "CHANGED_SINCE_PLAN");
  CHECK(f.stores.fleets.Apply(f.MakeFleet("", 0), f.now())->name.find('-') != std::string::npos);
}

TEST_CASE("a host belongs to one live fleet") {
  StoreFixture f;
  const FleetChange first = f.MakeFleet("first", 1);
  REQUIRE(f.stores.fleets.Apply(first, f.now()).ok());
  FleetChange second = f.MakeFleet("second", 1);
  second.added[0].hostname = first.added[0].hostname;
  const auto taken = f.stores.fleets.Apply(second, f.now());
  CHECK(taken.status().code() == absl::StatusCode::kAlreadyExists);
  CHECK(absl::StrContains(taken.status().message(), first.added[0].hostname));
  CHECK(absl::StrContains(taken.status().message(), "'first'"));
  // Another port is another host.
  second.added[0].port = 2222;
  CHECK(f.stores.fleets.Apply(second, f.now()).ok());
}

TEST_CASE("hosts come and go, numbers are used again") {
  StoreFixture f;
  const auto hosts = f.AddHosts("fleet", 2);
  FleetChange change = f.MakeFleet("fleet", 1);
  change.fleet_id = hosts[0].fleet_id;
  change.removed = {hosts[0].id};
  const auto changed = f.stores.fleets.Apply(change, f.now());
  REQUIRE(changed.ok());
  CHECK(changed->version == 2);
  REQUIRE(changed->instances.size() == 3);
  CHECK(changed->instances[0].status == INSTANCE_STATUS_TERMINATING);
  CHECK(changed->instances[2].name == "fleet-2");

  REQUIRE(End(f, hosts[0]).ok());
  FleetChange next = f.MakeFleet("fleet", 1);
  next.fleet_id = hosts[0].fleet_id;
  const auto again = f.stores.fleets.Apply(next, f.now());
  REQUIRE(again.ok());
  CHECK(again->instances[0].name == "fleet-0");
  CHECK(f.stores.fleets.Load(f.project.id, "fleet", "")->status == FLEET_STATUS_ACTIVE);
}

TEST_CASE("a fleet with live jobs is not deleted") {
  StoreFixture f;
  const auto hosts = f.AddHosts("fleet", 2);
  REQUIRE(f.Assign(f.Submit("train"), hosts[1]).ok());
  const auto busy = f.stores.fleets.Delete(f.project.id, {"fleet"}, {}, false, f.now());
  CHECK(base::Reason(busy) == "RESOURCE_BUSY");
  CHECK(absl::StrContains(busy.message(), "train"));
  CHECK(f.stores.instances.Load(hosts[0].id)->status == INSTANCE_STATUS_IDLE);
  // The idle host alone may go.
  REQUIRE(f.stores.fleets.Delete(f.project.id, {"fleet"}, {0}, false, f.now()).ok());
  CHECK(f.stores.instances.Load(hosts[0].id)->status == INSTANCE_STATUS_TERMINATING);
  CHECK(f.stores.fleets.Load(f.project.id, "fleet", "")->status == FLEET_STATUS_ACTIVE);
  CHECK(base::Reason(f.stores.fleets.Delete(f.project.id, {"fleet"}, {7}, false, f.now())) ==
        "INSTANCE_NOT_FOUND");
}

TEST_CASE("a deleted fleet ends with its last host") {
  StoreFixture f;
  const auto hosts = f.AddHosts("fleet", 2);
  REQUIRE(f.stores.fleets.Delete(f.project.id, {"fleet"}, {}, false, f.now()).ok());
  CHECK(f.stores.fleets.Load(f.project.id, "fleet", "")->status == FLEET_STATUS_TERMINATING);
  // A terminating host takes no jobs.
  CHECK(base::Reason(f.Assign(f.Submit("late"), hosts[0])) == "LEASE_LOST");
  {
    // Both at once: neither may overlook the other.
    std::jthread a([&] { static_cast<void>(End(f, hosts[0])); });
    std::jthread b([&] { static_cast<void>(End(f, hosts[1])); });
  }
  CHECK(f.stores.fleets.Load(f.project.id, "", hosts[0].fleet_id.str())->status ==
        FLEET_STATUS_TERMINATED);
  CHECK(base::Reason(f.stores.fleets.Load(f.project.id, "fleet", "").status()) ==
        "FLEET_NOT_FOUND");
  CHECK(base::Reason(f.stores.fleets.Delete(f.project.id, {"fleet"}, {}, false, f.now())) ==
        "FLEET_NOT_FOUND");
  CHECK(f.stores.fleets.Delete(f.project.id, {"fleet"}, {}, true, f.now()).ok());
  // Name and hosts are free again.
  CHECK(f.stores.fleets.Apply(f.MakeFleet("fleet", 1), f.now()).ok());
}

TEST_CASE("an empty fleet ends at once") {
  StoreFixture f;
  const auto made = f.stores.fleets.Apply(f.MakeFleet("fleet", 0), f.now());
  REQUIRE(made.ok());
  REQUIRE(f.stores.fleets.Delete(f.project.id, {"fleet"}, {}, false, f.now()).ok());
  CHECK(f.stores.fleets.Load(f.project.id, "", made->id.str())->status == FLEET_STATUS_TERMINATED);
}

TEST_CASE("fleets are listed by name, in pages") {
  StoreFixture f;
  for (const char* name : {"c", "a", "b"}) {
    REQUIRE(f.stores.fleets.Apply(f.MakeFleet(name, 1), f.now()).ok());
  }
  const auto first = f.stores.fleets.List(f.project.id, 2, "");
  REQUIRE(first->fleets.size() == 2);
  CHECK(first->fleets[0].name == "a");
  CHECK(first->fleets[0].instances.size() == 1);
  const auto rest = f.stores.fleets.List(f.project.id, 2, first->next_page_token);
  REQUIRE(rest->fleets.size() == 1);
  CHECK(rest->fleets[0].name == "c");
  CHECK(rest->next_page_token.empty());
}

}  // namespace
}  // namespace dstack::server
