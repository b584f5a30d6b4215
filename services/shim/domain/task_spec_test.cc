#include "services/shim/domain/task_spec.h"

#include <functional>
#include <string>

#include <catch2/catch.hpp>

#include "libs/base/status.h"

namespace dstack::shim {
namespace {

const HostAbilities kDockerHost{
    .has_images = true, .has_base_image = true, .has_privileged = true, .has_mounts = true};
const HostAbilities kProcessHost{.privileged_hint = "it has no container engine"};

v1::TaskSpec GoodSpec() {
  v1::TaskSpec spec;
  spec.set_task_id("66a886db-86db-4cf9-8c06-8984ad15dde2");
  spec.set_name("vllm-0-0");
  spec.set_image("busybox:1");
  spec.set_network_mode(v1::NETWORK_MODE_BRIDGE);
  spec.set_runner_token("0123456789abcdef0123456789abcdef");
  spec.add_container_ssh_keys("ssh-ed25519 AAAA user@host");
  return spec;
}

TEST_CASE("a good spec passes") {
  CHECK(ValidateSpec(GoodSpec(), kDockerHost).ok());
  v1::TaskSpec process = GoodSpec();
  process.clear_image();
  CHECK(ValidateSpec(process, kProcessHost).ok());
}

TEST_CASE("each bad field is named") {
  const struct {
    const char* field;
    std::function<void(v1::TaskSpec&)> spoil;
  } rows[] = {
      {"task_id", [](v1::TaskSpec& s) { s.set_task_id("../../etc"); }},
      {"task_id", [](v1::TaskSpec& s) { s.set_task_id("66A886DB-86db-4cf9-8c06-8984ad15dde2"); }},
      {"name", [](v1::TaskSpec& s) { s.set_name(""); }},
      {"name", [](v1::TaskSpec& s) { s.set_name("-x"); }},
      {"name", [](v1::TaskSpec& s) { s.set_name("a\nb"); }},
      {"name", [](v1::TaskSpec& s) { s.set_name(std::string(61, 'a')); }},
      {"image", [](v1::TaskSpec& s) { s.set_image("--privileged"); }},
      {"image", [](v1::TaskSpec& s) { s.set_image("a b"); }},
      {"gpu_count", [](v1::TaskSpec& s) { s.set_gpu_count(-2); }},
      {"network_mode", [](v1::TaskSpec& s) { s.clear_network_mode(); }},
      {"runner_token", [](v1::TaskSpec& s) { s.set_runner_token("short"); }},
      {"container_ssh_keys[0]", [](v1::TaskSpec& s) { s.set_container_ssh_keys(0, "a\nb"); }},
      {"container_user", [](v1::TaskSpec& s) { s.set_container_user("nobody"); }},
      {"mounts[0].host_path",
       [](v1::TaskSpec& s) {
         s.add_mounts()->set_host_path("relative");
         s.mutable_mounts(0)->set_container_path("/x");
       }},
  };
  for (const auto& row : rows) {
    v1::TaskSpec spec = GoodSpec();
    row.spoil(spec);
    const auto violations = base::FieldViolations(ValidateSpec(spec, kDockerHost));
    INFO(row.field);
    REQUIRE(violations.size() == 1);
    CHECK(violations[0].field == row.field);
  }
}

TEST_CASE("a process host says what it cannot do, all at once") {
  v1::TaskSpec spec = GoodSpec();
  spec.set_is_privileged(true);
  spec.add_mounts()->set_host_path("/a");
  spec.mutable_mounts(0)->set_container_path("/b");
  CHECK(base::FieldViolations(ValidateSpec(spec, kProcessHost)).size() == 3);
}

TEST_CASE("the token never shows in a message") {
  v1::TaskSpec spec = GoodSpec();
  spec.set_runner_token("sEcReT");
  const absl::Status status = ValidateSpec(spec, kDockerHost);
  CHECK(std::string(status.message()).find("sEcReT") == std::string::npos);
}

TEST_CASE("specs are compared by content") {
  v1::TaskSpec other = GoodSpec();
  CHECK(IsSameSpec(GoodSpec(), other));
  other.set_gpu_count(1);
  CHECK_FALSE(IsSameSpec(GoodSpec(), other));
}

}  // namespace
}  // namespace dstack::shim
