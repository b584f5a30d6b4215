#include "api_fixture.h"

namespace dstack::server {
namespace {

std::vector<std::string> Fields(const absl::Status& status) {
  std::vector<std::string> fields;
  for (const auto& violation : base::FieldViolations(status)) fields.push_back(violation.field);
  return fields;
}

bool Has(const std::vector<std::string>& fields, const std::string& field) {
  return std::find(fields.begin(), fields.end(), field) != fields.end();
}

TEST_CASE("a fleet is created, grows, shrinks and never shows its keys") {
  ApiFixture api;
  const auto fleet = api.MustApplyFleet("pool", {"host-1", "host-2"});
  CHECK(fleet.name() == "pool");
  CHECK(fleet.spec().ssh_keys().empty());
  REQUIRE(fleet.instances_size() == 2);
  CHECK(fleet.instances(0).name() == "pool-0");
  CHECK(fleet.instances(0).status() == api::v1::INSTANCE_STATUS_PENDING);

  auto spec = ApiFixture::SshFleet("pool", {"host-2", "host-3"});
  api::v1::PlanFleetRequest plan;
  plan.set_project_name("main");
  *plan.mutable_fleet_spec() = spec;
  auto planned = api.Call(api.fleets, &api::v1::FleetService::Stub::PlanFleet, plan);
  INFO(planned.status());
  REQUIRE(planned.ok());
  CHECK(planned->plan().is_updatable());
  REQUIRE(planned->plan().changes_size() == 2);
  CHECK(planned->plan().changes(0).path() == "ssh_config.hosts");
  CHECK(planned->plan().changes(0).current() == "host-1");
  CHECK(planned->plan().changes(1).wanted() == "host-3");
  CHECK(planned->plan().effective_fleet_spec().ssh_keys().empty());
  CHECK(planned->plan().current_fleet().id() == fleet.id());

  auto changed = api.ApplyFleet(spec);
  INFO(changed.status());
  REQUIRE(changed.ok());
  CHECK(changed->id() == fleet.id());
  std::vector<std::string> live;
  for (const auto& instance : changed->instances()) {
    if (instance.status() == api::v1::INSTANCE_STATUS_PENDING) live.push_back(instance.hostname());
  }
  CHECK(live == std::vector<std::string>{"host-2", "host-3"});

  spec.mutable_configuration()->mutable_ssh_config()->set_user("root");
  const absl::Status refused = api.ApplyFleet(spec).status();
  CHECK(refused.code() == absl::StatusCode::kFailedPrecondition);
  CHECK_THAT(std::string(refused.message()), Catch::Contains("ssh_config.user"));

  const absl::Status taken = api.ApplyFleet(ApiFixture::SshFleet("other", {"host-3"})).status();
  CHECK(base::Reason(taken) == "NAME_TAKEN");
}

TEST_CASE("hosts of one address differ by their port") {
  ApiFixture api;
  auto spec = ApiFixture::SshFleet("pool", {"127.0.0.1", "127.0.0.1"});
  const absl::Status twice = api.ApplyFleet(spec).status();
  CHECK(Has(Fields(twice), "ssh_config.hosts[1]"));
  spec.mutable_configuration()->mutable_ssh_config()->mutable_hosts(1)->set_port(2222);
  auto fleet = api.ApplyFleet(spec);
  INFO(fleet.status());
  REQUIRE(fleet.ok());
  CHECK(fleet->instances_size() == 2);
  // The same document again changes nothing.
  auto again = api.ApplyFleet(spec);
  REQUIRE(again.ok());
  CHECK(again->instances_size() == 2);
}

TEST_CASE("everything that is wrong with a fleet is named at once") {
  ApiFixture api;
  auto spec = ApiFixture::SshFleet("pool", {"-oProxyCommand=x", "host-2", "host-3"});
  auto& ssh_config = *spec.mutable_configuration()->mutable_ssh_config();
  ssh_config.clear_user();
  ssh_config.mutable_hosts(0)->set_user("ann");
  ssh_config.mutable_hosts(1)->set_port(70000);
  ssh_config.mutable_hosts(2)->set_identity_file("~/.ssh/other");
  const absl::Status status = api.ApplyFleet(spec).status();
  INFO(status);
  CHECK(base::Reason(status) == "INVALID_FIELDS");
  const auto fields = Fields(status);
  CHECK(Has(fields, "ssh_config.hosts[0].hostname"));
  CHECK(Has(fields, "ssh_config.hosts[1].user"));
  CHECK(Has(fields, "ssh_config.hosts[1].port"));
  CHECK(Has(fields, "ssh_config.hosts[2].user"));
  CHECK(Has(fields, "ssh_config.hosts[2].identity_file"));

  api::v1::FleetSpec clouds;
  clouds.mutable_configuration()->mutable_nodes()->set_min(1);
  CHECK(Has(Fields(api.ApplyFleet(clouds).status()), "ssh_config"));
  auto locked = ApiFixture::SshFleet("locked", {"host-9"});
  (*locked.mutable_ssh_keys())["~/.ssh/id"] =
      "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n";
  CHECK_THAT(std::string(api.ApplyFleet(locked).status().message()), Catch::Contains("passphrase"));
}

TEST_CASE("the same request id gives the same fleet") {
  ApiFixture api;
  auto spec = ApiFixture::SshFleet("", {"host-1"});
  spec.mutable_configuration()->clear_name();
  auto first = api.ApplyFleet(spec, "req-1");
  auto second = api.ApplyFleet(spec, "req-1");
  INFO(second.status());
  REQUIRE(first.ok());
  REQUIRE(second.ok());
  CHECK(first->id() == second->id());
  CHECK_THAT(first->name(), Catch::Matches("[a-z]+-[a-z]+"));
}

TEST_CASE("fleets and instances are listed, read and deleted") {
  ApiFixture api;
  const auto pool = api.MustApplyFleet("pool", {"host-1", "host-2"});
  api.MustApplyFleet("second", {"host-3"});
  api::v1::ListFleetsRequest list;
  list.set_project_name("main");
  list.set_page_size(1);
  auto page = api.Call(api.fleets, &api::v1::FleetService::Stub::ListFleets, list);
  REQUIRE(page.ok());
  REQUIRE(page->fleets_size() == 1);
  CHECK(page->fleets(0).name() == "pool");
  list.set_page_token(page->next_page_token());
  page = api.Call(api.fleets, &api::v1::FleetService::Stub::ListFleets, list);
  REQUIRE(page.ok());
  CHECK(page->fleets(0).name() == "second");
  CHECK(page->next_page_token().empty());

  api::v1::ListInstancesRequest instances;
  instances.set_project_name("main");
  instances.set_fleet_name("pool");
  auto hosts = api.Call(api.instances, &api::v1::InstanceService::Stub::ListInstances, instances);
  REQUIRE(hosts.ok());
  CHECK(hosts->instances_size() == 2);
  api::v1::GetInstanceRequest one;
  one.set_project_name("main");
  one.set_instance_id(hosts->instances(1).id());
  auto host = api.Call(api.instances, &api::v1::InstanceService::Stub::GetInstance, one);
  REQUIRE(host.ok());
  CHECK(host->instance().hostname() == "host-2");
  one.set_instance_id(pool.id());
  CHECK(base::Reason(
            api.Call(api.instances, &api::v1::InstanceService::Stub::GetInstance, one).status()) ==
        "INSTANCE_NOT_FOUND");

  api::v1::DeleteFleetsRequest remove;
  remove.set_project_name("main");
  remove.add_fleet_names("pool");
  remove.add_instance_nums(1);
  REQUIRE(api.Call(api.fleets, &api::v1::FleetService::Stub::DeleteFleets, remove).ok());
  remove.add_fleet_names("second");
  CHECK(
      Has(Fields(api.Call(api.fleets, &api::v1::FleetService::Stub::DeleteFleets, remove).status()),
          "instance_nums"));
  api::v1::DeleteFleetsRequest ghost;
  ghost.set_project_name("main");
  ghost.add_fleet_names("ghost");
  CHECK(base::Reason(
            api.Call(api.fleets, &api::v1::FleetService::Stub::DeleteFleets, ghost).status()) ==
        "FLEET_NOT_FOUND");
}

TEST_CASE("a drained instance is left out of plans, with its reason") {
  ApiFixture api;
  const auto fleet = api.MustApplyFleet("lab", {"10.0.0.1"});
  const auto set = [&](bool is_draining, const std::string& reason) {
    api::v1::SetInstanceDrainRequest request;
    request.set_project_name("main");
    request.set_instance_id(fleet.instances(0).id());
    request.set_is_draining(is_draining);
    request.set_reason(reason);
    return api.Call(api.instances, &api::v1::InstanceService::Stub::SetInstanceDrain, request);
  };
  const auto unavailable = [&] {
    api::v1::PlanRunRequest request;
    request.set_project_name("main");
    *request.mutable_run_spec() = ApiFixture::Task("train");
    const auto plan = api.Call(api.runs, &api::v1::RunService::Stub::PlanRun, request);
    REQUIRE(plan.ok());
    return plan->plan().job_plans(0).unavailable_hosts(0).reason();
  };
  const auto refused = set(true, "");
  REQUIRE(base::FieldViolations(refused.status()).size() == 1);
  CHECK(base::FieldViolations(refused.status())[0].field == "reason");
  CHECK(absl::IsInvalidArgument(set(true, std::string(257, 'x')).status()));
  CHECK(absl::IsInvalidArgument(set(true, "two\nlines").status()));
  const auto drained = set(true, "new kernel");
  REQUIRE(drained.ok());
  CHECK(drained->instance().drain().reason() == "new kernel");
  CHECK(drained->instance().drain().has_since());
  CHECK_FALSE(drained->instance().drain().is_confirmed());
  CHECK(unavailable() == "draining: new kernel");
  REQUIRE(set(false, "").ok());
  CHECK(unavailable() == "is still being set up");

  api.token = api.NewUser("eve");
  CHECK(base::Reason(set(true, "x").status()) == "PROJECT_NOT_FOUND");
}

}  // namespace
}  // namespace dstack::server
