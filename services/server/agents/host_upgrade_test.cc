#include "services/server/agents/host_upgrade.h"

#include <map>

#include <catch2/catch.hpp>

#include "libs/base/sha256.h"

namespace dstack::server {
namespace {

using namespace shim::v1;  // NOLINT: the words of the contract read best without their package here

AgentFile MakeFile(const std::string& name, std::string content) {
  AgentFile file{.name = name, .content = std::move(content)};
  file.digest = base::Sha256Hex(file.content);
  return file;
}

// A host that takes what is sent.
struct Fixture {
  Fixture() {
    auto made = std::make_shared<AgentBundle::Files>();
    made->shim = MakeFile("dstack-shim", std::string(3 << 20, 's'));
    made->runner = MakeFile("dstack-runner", std::string(100, 'r'));
    made->ssh = MakeFile("ssh", "tar");
    files = std::move(made);
    hello.mutable_capabilities()->set_has_upgrade(true);
    AddRunning(COMPONENT_SHIM, "0123456789ab");
    AddRunning(COMPONENT_RUNNER, files->runner.digest.substr(0, 12));
    AddRunning(COMPONENT_SSH, "0123456789ab");
  }
  void AddRunning(Component component, const std::string& digits) {
    auto* digest = hello.add_components();
    digest->set_component(component);
    digest->set_sha256(digits);
  }
  void Open() {
    upgrade.OnHello(hello);
    upgrade.OnSynced();
    if (loads > 0) upgrade.OnAgents(files);
  }
  // Answers everything that waits; false when nothing did.
  void Serve() {
    while (!inbox.empty()) {
      const auto requests = std::exchange(inbox, {});
      most_in_flight = std::max(most_in_flight, requests.size());
      for (const SessionRequest& request : requests) {
        if (request.has_activate()) activated = request.activate();
        if (!request.has_component_chunk()) continue;
        const ComponentChunk& chunk = request.component_chunk();
        std::string& content = received[chunk.component().component()];
        CHECK(chunk.offset() == content.size());
        content += chunk.data();
        ComponentStatus status;
        *status.mutable_component() = chunk.component();
        status.set_received_bytes(content.size());
        status.set_state(content.size() == chunk.total_bytes() ? COMPONENT_STATE_STAGED
                                                               : COMPONENT_STATE_RECEIVING);
        upgrade.OnComponentStatus(status);
      }
    }
  }

  std::shared_ptr<const AgentBundle::Files> files;
  ShimHello hello;
  std::vector<SessionRequest> inbox;
  std::map<int, std::string> received;
  std::optional<ActivateCommand> activated;
  std::size_t most_in_flight = 0;
  int loads = 0;
  std::vector<std::string> failures;
  HostUpgrade upgrade{"instance",
                      {.send = [this](SessionRequest r) { inbox.push_back(std::move(r)); },
                       .load_agents = [this] { ++loads; },
                       .on_failed = [this](const std::string& m) { failures.push_back(m); }}};
};

TEST_CASE("what differs is sent in pieces, a few at a time, then all is activated") {
  Fixture f;
  f.Open();
  f.Serve();
  CHECK(f.received[COMPONENT_SHIM] == f.files->shim.content);
  CHECK(f.received[COMPONENT_SSH] == "tar");
  CHECK(f.received.count(COMPONENT_RUNNER) == 0);
  CHECK(f.most_in_flight <= 5);
  REQUIRE(f.activated.has_value());
  CHECK(f.activated->components_size() == 3);
  CHECK(f.activated->components(1).sha256() == f.files->runner.digest);
}

TEST_CASE("a host that has all, or that cannot be helped, is left alone") {
  Fixture f;
  SECTION("the same digests") {
    f.hello.mutable_components(0)->set_sha256(f.files->shim.digest.substr(0, 12));
    f.hello.mutable_components(2)->set_sha256(f.files->ssh->digest.substr(0, 12));
    f.Open();
    CHECK(f.loads == 1);
  }
  SECTION("started by hand") {
    f.hello.mutable_components(0)->clear_sha256();
    f.Open();
    CHECK(f.loads == 0);
  }
  SECTION("nobody would start it again") {
    f.hello.mutable_capabilities()->set_has_upgrade(false);
    f.Open();
    CHECK(f.loads == 0);
  }
  CHECK(f.inbox.empty());
  CHECK(f.failures.empty());
}

TEST_CASE("digests that a host refused or went back from are not offered again") {
  Fixture f;
  SECTION("rolled back") {
    UpgradeStatus status;
    status.set_state(UPGRADE_STATE_ROLLED_BACK);
    status.set_message("the new shim exited with status 3");
    auto* digest = status.add_components();
    digest->set_component(COMPONENT_SHIM);
    digest->set_sha256(f.files->shim.digest.substr(0, 12));
    f.upgrade.OnUpgradeStatus(status);
    f.Open();
    CHECK(f.inbox.empty());
  }
  SECTION("refused") {
    f.Open();
    f.inbox.clear();
    ComponentStatus status;
    status.mutable_component()->set_sha256(f.files->shim.digest);
    status.set_state(COMPONENT_STATE_REFUSED);
    status.set_reason("VERSION_MISMATCH");
    status.set_message("the program is of another version");
    f.upgrade.OnComponentStatus(status);
  }
  REQUIRE(f.failures.size() == 1);
  f.Open();
  CHECK(f.inbox.empty());
  CHECK(f.failures.size() == 1);
}

TEST_CASE("what a full disk did not take is offered again, a limited number of times") {
  Fixture f;
  int offers = 0;
  for (int session = 0; session < 20; ++session) {
    f.inbox.clear();
    f.Open();
    offers += f.inbox.empty() ? 0 : 1;
    ComponentStatus status;
    status.mutable_component()->set_sha256(f.files->shim.digest);
    status.set_state(COMPONENT_STATE_REFUSED);
    status.set_reason("DISK_FULL");
    status.set_message("no space left on device");
    f.upgrade.OnComponentStatus(status);
  }
  CHECK(offers == 5);
  CHECK(f.failures.size() == 5);
  CHECK_THAT(f.failures.front(), Catch::Contains("no space left"));
}

TEST_CASE("a transfer that was cut off begins again") {
  Fixture f;
  f.Open();
  f.inbox.clear();
  f.upgrade.OnSessionLost();
  f.Open();
  f.Serve();
  CHECK(f.received[COMPONENT_SHIM] == f.files->shim.content);
  CHECK(f.activated.has_value());
}

}  // namespace
}  // namespace dstack::server
