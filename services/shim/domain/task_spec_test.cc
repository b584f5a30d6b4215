#include "services/shim/domain/task_spec.h"

#include <functional>
#include <string>

#include <catch2/catch.hpp>

#include "libs/base/status.h"

namespace dstack::shim {
namespace {

const HostAbilities kDockerHost{.has_images = true,
                                .has_base_image = true,
                                .has_privileged = true,
                                .has_mounts = true,
                                .missing_capabilities = {"CAP_SYS_RESOURCE"},
                                .protected_paths = {"/home/u/.dstack", "/run/docker.sock"}};
constexpr char kKey[] =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPvMKTHGgFKBnfzmgLDqlJy7VwiocGfGMXYQeo4IJ7Xe u@h";

void Mount(v1::TaskSpec& spec, const std::string& from, const std::string& to) {
  auto* mount = spec.add_mounts();
  mount->set_host_path(from);
  mount->set_container_path(to);
}

v1::VolumeMount* Volume(v1::TaskSpec& spec) {
  auto* volume = spec.add_volumes();
  volume->set_name("data");
  volume->set_device_name("/dev/sdz");
  volume->set_container_path("/data");
  return volume;
}
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

TEST_CASE("a spec with everything passes") {
  v1::TaskSpec spec = GoodSpec();
  spec.set_is_privileged(true);
  spec.set_needs_docker(true);
  spec.add_capabilities("CAP_SYS_PTRACE");
  spec.add_devices()->set_path_on_host("/dev/dri/renderD128");
  Volume(spec);
  v1::VolumeMount* aws = Volume(spec);
  aws->set_backend("aws");
  aws->set_volume_id("vol-0123");
  aws->set_container_path("/aws");
  v1::VolumeMount* gcp = Volume(spec);
  gcp->set_backend("gcp");
  gcp->set_device_name("pd-0");
  gcp->set_container_path("/gcp");
  spec.add_published_ports()->set_container_port(80);
  (*spec.mutable_env())["A"] = "line\nline";
  (*spec.mutable_labels())["team"] = "x";
  spec.set_host_ssh_user("ubuntu");
  spec.add_host_ssh_keys(kKey);
  spec.mutable_registry_auth()->set_username("AWS");
  spec.mutable_registry_auth()->set_password(std::string(2500, 'x'));
  Mount(spec, "/home/u/data", "/d");
  const absl::Status status = ValidateSpec(spec, kDockerHost);
  INFO(status);
  CHECK(status.ok());
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
      {"mounts[0].host_path", [](v1::TaskSpec& s) { Mount(s, "/home/u/.dstack/tasks", "/x"); }},
      {"mounts[0].host_path", [](v1::TaskSpec& s) { Mount(s, "/home/u", "/x"); }},
      {"mounts[0].host_path", [](v1::TaskSpec& s) { Mount(s, "/home/u/../u/.dstack", "/x"); }},
      {"mounts[0].host_path", [](v1::TaskSpec& s) { Mount(s, "/", "/x"); }},
      {"mounts[1].container_path",
       [](v1::TaskSpec& s) {
         Mount(s, "/a", "/x");
         Mount(s, "/b", "/x");
       }},
      {"devices[0].path_on_host",
       [](v1::TaskSpec& s) { s.add_devices()->set_path_on_host("/etc/passwd"); }},
      {"devices[0].path_on_host",
       [](v1::TaskSpec& s) { s.add_devices()->set_path_on_host("/dev/../etc/passwd"); }},
      {"volumes[0].name", [](v1::TaskSpec& s) { Volume(s)->set_name("../x"); }},
      {"volumes[0].name", [](v1::TaskSpec& s) { Volume(s)->set_name("-rf"); }},
      {"volumes[0].device_name", [](v1::TaskSpec& s) { Volume(s)->set_device_name("-f"); }},
      {"volumes[0].device_name", [](v1::TaskSpec& s) { Volume(s)->set_backend("gcp"); }},
      {"volumes[0].volume_id", [](v1::TaskSpec& s) { Volume(s)->set_backend("aws"); }},
      {"volumes[0].backend", [](v1::TaskSpec& s) { Volume(s)->set_backend("azure"); }},
      {"volumes[0].container_path", [](v1::TaskSpec& s) { Volume(s)->set_container_path("x"); }},
      {"published_ports",
       [](v1::TaskSpec& s) {
         s.set_network_mode(v1::NETWORK_MODE_HOST);
         s.add_published_ports()->set_container_port(80);
       }},
      {"published_ports[0].container_port", [](v1::TaskSpec& s) { s.add_published_ports(); }},
      {"published_ports[0].host_port",
       [](v1::TaskSpec& s) {
         s.add_published_ports()->set_container_port(80);
         s.mutable_published_ports(0)->set_host_port(70000);
       }},
      {"capabilities[0]", [](v1::TaskSpec& s) { s.add_capabilities("sys_admin;reboot"); }},
      {"capabilities[0]", [](v1::TaskSpec& s) { s.add_capabilities("SYS_RESOURCE"); }},
      {"capabilities[0]", [](v1::TaskSpec& s) { s.add_capabilities("CAP_SYS_RESOURCE"); }},
      {"env[A=B]", [](v1::TaskSpec& s) { (*s.mutable_env())["A=B"] = "x"; }},
      {"labels[ai.dstack.shim.id]",
       [](v1::TaskSpec& s) { (*s.mutable_labels())["ai.dstack.shim.id"] = "x"; }},
      {"host_ssh_user", [](v1::TaskSpec& s) { s.set_host_ssh_user("../root"); }},
      {"host_ssh_user", [](v1::TaskSpec& s) { s.add_host_ssh_keys(kKey); }},
      {"host_ssh_keys[0]",
       [](v1::TaskSpec& s) {
         s.set_host_ssh_user("ubuntu");
         s.add_host_ssh_keys(std::string("command=\"id\" ") + kKey);
       }},
      {"registry_auth",
       [](v1::TaskSpec& s) {
         s.mutable_registry_auth()->set_username("u");
         s.mutable_registry_auth()->set_identity_token("t");
       }},
      {"registry_auth.username",
       [](v1::TaskSpec& s) { s.mutable_registry_auth()->set_password("p"); }},
      {"registry_auth.docker_config",
       [](v1::TaskSpec& s) {
         s.mutable_registry_auth()->set_docker_config(std::string(70000, 'x'));
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
  Mount(spec, "/a", "/b");
  Volume(spec);
  spec.add_devices()->set_path_on_host("/dev/x");
  spec.add_capabilities("SYS_PTRACE");
  spec.set_needs_docker(true);
  CHECK(base::FieldViolations(ValidateSpec(spec, kProcessHost)).size() == 7);
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
