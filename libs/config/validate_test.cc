#include "libs/config/validate.h"

#include <limits>
#include <string>

#include <catch2/catch.hpp>

#include "libs/config/accelerators.h"
#include "libs/config/names.h"
#include "libs/config/private_address.h"

namespace dstack::config {
namespace {

v1::RunConfiguration Task() {
  v1::RunConfiguration run;
  run.mutable_task()->add_commands("x");
  return run;
}

std::string FirstField(const absl::Status& status) {
  const auto violations = base::FieldViolations(status);
  return violations.empty() ? "" : violations[0].field;
}

TEST_CASE("requests are held to the same rules as documents") {
  CHECK(ValidateRun(Task()).ok());
  CHECK(FirstField(ValidateRun(v1::RunConfiguration())) == "type");
  v1::RunConfiguration run = Task();
  run.set_priority(101);
  CHECK(FirstField(ValidateRun(run)) == "priority");
  run = Task();
  run.mutable_profile()->set_spot_policy(static_cast<v1::SpotPolicy>(99));
  CHECK(FirstField(ValidateRun(run)) == "spot_policy");
  run = Task();
  run.mutable_profile()->set_max_price(std::numeric_limits<double>::quiet_NaN());
  CHECK(FirstField(ValidateRun(run)) == "max_price");
  run = Task();
  run.mutable_profile()->mutable_max_duration()->mutable_duration()->set_seconds(-1);
  CHECK(FirstField(ValidateRun(run)) == "max_duration");
  run = Task();
  run.mutable_profile()->mutable_stop_duration()->mutable_duration()->set_seconds(
      std::numeric_limits<int64_t>::max());
  CHECK(FirstField(ValidateRun(run)) == "stop_duration");
  run = Task();
  run.mutable_resources()->mutable_memory()->set_min_bytes(2);
  run.mutable_resources()->mutable_memory()->set_max_bytes(1);
  CHECK(FirstField(ValidateRun(run)) == "resources.memory");
  run = Task();
  run.add_volumes();
  CHECK(FirstField(ValidateRun(run)) == "volumes[0]");
  run = Task();
  run.mutable_task()->add_ports()->set_container_port(0);
  CHECK(FirstField(ValidateRun(run)) == "ports[0].container_port");
  run = Task();
  run.add_env()->set_name("A=B");
  CHECK(FirstField(ValidateRun(run)) == "env[0]");
  run = Task();
  run.mutable_profile()->add_backends("AWS");
  CHECK(FirstField(ValidateRun(run)) == "backends[0]");
}

TEST_CASE("each field is reported once, all fields together") {
  v1::RunConfiguration run;
  run.set_name("Bad_Name");
  run.set_shell("zsh");
  run.set_user("a:b:c");
  run.mutable_task()->set_nodes(0);
  CHECK(base::FieldViolations(ValidateRun(run)).size() == 5);  // and no commands
}

TEST_CASE("the server wants values for variables and keys for hosts") {
  v1::RunConfiguration run = Task();
  run.add_env()->set_name("A");
  CHECK(ValidateRun(run).ok());
  CHECK(FirstField(ValidateSubmittedRun(run)) == "env[0]");
  run.mutable_env(0)->set_value("");
  CHECK(ValidateSubmittedRun(run).ok());

  v1::FleetConfiguration fleet;
  fleet.mutable_ssh_config()->add_hosts()->set_hostname("h");
  CHECK(ValidateFleet(fleet).ok());
  CHECK(base::FieldViolations(ValidateSubmittedFleet(fleet)).size() == 2);
  fleet.mutable_ssh_config()->set_user("u");
  const std::string key =
      "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n";
  fleet.mutable_ssh_config()->mutable_ssh_key()->set_private_key(key);
  CHECK(ValidateSubmittedFleet(fleet).ok());
  fleet.mutable_ssh_config()->mutable_ssh_key()->set_private_key("ssh-ed25519 AAAA");
  CHECK(FirstField(ValidateSubmittedFleet(fleet)) == "ssh_config.hosts[0].identity_file");
  CHECK(std::string(ValidateSubmittedFleet(fleet).message()).find("AAAA") == std::string::npos);
}

TEST_CASE("names") {
  CHECK(CheckResourceName("a1").ok());
  CHECK(CheckResourceName("a-").ok());
  CHECK(CheckResourceName("a" + std::string(40, 'b')).ok());
  for (const std::string name : {"", "a", "1a", "aB", "a_b", "ab\n", "-ab"}) {
    INFO(name);
    CHECK(!CheckResourceName(name).ok());
  }
  CHECK(!CheckResourceName("a" + std::string(41, 'b')).ok());
  CHECK(CheckGroupName("0").ok());
  CHECK(!CheckGroupName("-a").ok());
  CHECK(CheckProjectName("A_b-1").ok());
  CHECK(!CheckProjectName(std::string(51, 'a')).ok());
  CHECK(CheckSecretName("a-1").ok());
  CHECK(CheckContainerUser("1000:1000").ok());
  CHECK(!CheckContainerUser(":g").ok());
}

TEST_CASE("private addresses and networks") {
  for (const char* address :
       {"10.0.0.1", "192.168.1.5", "172.31.255.1", "127.0.0.1", "fd00::1", "fe80::1"}) {
    INFO(address);
    CHECK(CheckPrivateAddress(address).ok());
  }
  for (const char* address :
       {"8.8.8.8", "100.64.0.1", "172.32.0.1", "2600::1", "host", "", "10.0.0"}) {
    INFO(address);
    CHECK(!CheckPrivateAddress(address).ok());
  }
  CHECK(CheckPrivateNetwork("10.0.0.5/24").ok());
  CHECK(CheckPrivateNetwork("192.168.0.0").ok());
  for (const char* network :
       {"10.0.0.0/4", "0.0.0.0/0", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/8/8"}) {
    INFO(network);
    CHECK(!CheckPrivateNetwork(network).ok());
  }
}

TEST_CASE("accelerators are known by name") {
  REQUIRE(FindAccelerator("rtx4090") != nullptr);
  CHECK(FindAccelerator("rtx4090")->name == "RTX4090");
  CHECK(FindAccelerator("H100")->compute_capability == std::pair(9, 0));
  CHECK(FindAccelerator("X1") == nullptr);
  constexpr uint64_t kMib = 1 << 20;
  constexpr uint64_t kGib = 1 << 30;
  CHECK(NominalGpuMemoryBytes("A100", 81559 * kMib) == 80 * kGib);
  CHECK(NominalGpuMemoryBytes("L4", 23034 * kMib) == 24 * kGib);
  CHECK(NominalGpuMemoryBytes("T4", 15360 * kMib) == 16 * kGib);
  CHECK(NominalGpuMemoryBytes("X1", 10 * kGib + 300 * kMib) == 10 * kGib);
}

}  // namespace
}  // namespace dstack::config
