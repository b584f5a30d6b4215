// What the adapters make of texts and settings, without engine, cards or processes of tasks.
#include <algorithm>
#include <atomic>
#include <chrono>

#include <catch2/catch.hpp>
#include <signal.h>
#include <unistd.h>

#include "libs/process/subprocess.h"
#include "libs/testing/await.h"
#include "services/shim/adapters/docker_runtime.h"
#include "services/shim/adapters/exit_watcher.h"
#include "services/shim/adapters/process_identity.h"
#include "services/shim/adapters/supervisor_command.h"
#include "services/shim/adapters/task_cgroup.h"
#include "services/shim/adapters/user_home.h"

namespace dstack::shim {
namespace {

using namespace std::chrono_literals;
using Words = std::vector<std::string>;

LaunchSpec MakeLaunch() {
  LaunchSpec launch;
  launch.task.set_task_id("66a886db-86db-4cf9-8c06-8984ad15dde2");
  launch.task.set_network_mode(v1::NETWORK_MODE_BRIDGE);
  launch.runner_dir = "/nowhere/runner";
  return launch;
}

const DockerRuntimeSettings kSettings{.shim_id = "shim",
                                      .runner_binary = "/nowhere/dstack-runner",
                                      .ssh_bundle_dir = "/nowhere/ssh",
                                      .owner = 1000,
                                      .group = 1001};

TEST_CASE("the supervisor's command line") {
  v1::TaskSpec task;
  CHECK(SupervisorCommand({.binary = "r", .task_dir = "/d", .socket_owner = 1}, task) ==
        Words{"r", "supervise", "--task-dir", "/d", "--socket-owner", "1:0"});
  task.set_log_spool_bytes(1024);
  task.set_log_overflow_policy(v1::LOG_OVERFLOW_POLICY_DROP);
  const Words full =
      SupervisorCommand({.binary = "r", .task_dir = "/d", .ssh_dir = "/s", .ssh_port = 22}, task);
  CHECK(full == Words{"r",
                      "supervise",
                      "--task-dir",
                      "/d",
                      "--socket-owner",
                      "0:0",
                      "--ssh-dir",
                      "/s",
                      "--ssh-port",
                      "22",
                      "--log-spool-bytes",
                      "1024",
                      "--log-overflow",
                      "drop"});
}

TEST_CASE("a bridge container publishes sshd only; a host container nothing") {
  LaunchSpec launch = MakeLaunch();
  const auto bridge = MakeContainerConfig(launch, "i:1", kSettings, true);
  CHECK(bridge.published_ports == std::vector<docker::PublishedPort>{{10022, 0}});
  CHECK(bridge.network_mode == "bridge");
  CHECK(bridge.user == "0:0");
  CHECK(bridge.labels.at("ai.dstack.shim.task-id") == launch.task.task_id());
  CHECK(bridge.labels.at("ai.dstack.shim.is-task") == "true");
  CHECK(bridge.labels.at("ai.dstack.shim.id") == "shim");
  REQUIRE(bridge.mounts.size() == 3);
  CHECK_FALSE(bridge.mounts[0].is_read_only);
  CHECK(bridge.mounts[1].is_read_only);
  CHECK(bridge.mounts[2].is_read_only);

  launch.task.set_network_mode(v1::NETWORK_MODE_HOST);
  const auto host = MakeContainerConfig(launch, "i:1", kSettings, true);
  CHECK(host.network_mode == "host");
  CHECK(host.published_ports.empty());
  CHECK(std::find(host.entrypoint.begin(), host.entrypoint.end(), "0") != host.entrypoint.end());
}

TEST_CASE("no secret of a task is part of its container") {
  LaunchSpec launch = MakeLaunch();
  launch.task.set_runner_token("sEcReT-token");
  launch.task.mutable_registry_auth()->set_password("sEcReT-password");
  const std::string body = docker::CreateBody(MakeContainerConfig(launch, "i:1", kSettings, true));
  CHECK(body.find("sEcReT") == std::string::npos);
}

DockerRuntimeSettings SettingsWithGpus(common::v1::GpuVendor vendor) {
  DockerRuntimeSettings settings = kSettings;
  settings.find_gpus = [vendor](const std::vector<std::string>& ids) {
    std::vector<common::v1::Gpu> gpus;
    for (const std::string& id : ids) {
      gpus.emplace_back().set_resource_id(id);
      gpus.back().set_vendor(vendor);
    }
    return gpus;
  };
  return settings;
}

TEST_CASE("the accelerators that a task holds reach its container") {
  LaunchSpec launch = MakeLaunch();
  const auto nvidia = SettingsWithGpus(common::v1::GPU_VENDOR_NVIDIA);
  CHECK_FALSE(MakeContainerConfig(launch, "i:1", nvidia, true).gpus.has_value());
  launch.gpu_ids = {"GPU-1", "GPU-2"};
  const auto with = MakeContainerConfig(launch, "i:1", nvidia, true);
  REQUIRE(with.gpus.has_value());
  CHECK(with.gpus->ids == launch.gpu_ids);
  const auto has_display = [](const docker::ContainerConfig& config) {
    return std::count(
               config.gpus->capabilities.begin(), config.gpus->capabilities.end(), "display") == 1;
  };
  CHECK(has_display(with));
  CHECK_FALSE(has_display(MakeContainerConfig(launch, "i:1", nvidia, false)));
  CHECK(with.env.empty());

  launch.gpu_ids = {"/dev/dri/renderD128"};
  const auto amd =
      MakeContainerConfig(launch, "i:1", SettingsWithGpus(common::v1::GPU_VENDOR_AMD), true);
  CHECK_FALSE(amd.gpus.has_value());
  REQUIRE(amd.devices.size() == 2);
  CHECK(amd.devices[1].path_on_host == "/dev/dri/renderD128");
  CHECK(amd.ipc_mode == "host");
  CHECK(amd.security_options == Words{"seccomp=unconfined"});
  CHECK(amd.added_capabilities == Words{"SYS_PTRACE"});

  // Named device files take the place of all that.
  launch.task.add_devices()->set_path_on_host("/dev/nvidia0");
  const auto named =
      MakeContainerConfig(launch, "i:1", SettingsWithGpus(common::v1::GPU_VENDOR_NVIDIA), true);
  CHECK_FALSE(named.gpus.has_value());
  REQUIRE(named.devices.size() == 1);
  CHECK(named.devices[0].path_in_container == "/dev/nvidia0");
}

TEST_CASE("what a task asks for beside accelerators reaches its container") {
  LaunchSpec launch = MakeLaunch();
  v1::TaskSpec& task = launch.task;
  task.add_capabilities("CAP_SYS_PTRACE");
  task.add_capabilities("NET_ADMIN");
  task.add_published_ports()->set_container_port(80);
  task.mutable_published_ports(0)->set_host_port(8080);
  (*task.mutable_env())["A"] = "b";
  (*task.mutable_labels())["team"] = "x";
  task.set_needs_docker(true);
  DockerRuntimeSettings settings = kSettings;
  settings.env = {"http_proxy=http://proxy"};
  settings.device_files.has_infiniband = true;
  const auto config = MakeContainerConfig(launch, "i:1", settings, true);
  CHECK(config.added_capabilities == Words{"SYS_PTRACE", "NET_ADMIN"});
  CHECK(config.published_ports == std::vector<docker::PublishedPort>{{10022, 0}, {80, 8080}});
  CHECK(config.env == Words{"http_proxy=http://proxy", "A=b"});
  CHECK(config.labels.at("team") == "x");
  CHECK(config.is_privileged);
  CHECK(config.anonymous_volumes == Words{"/var/lib/docker"});
  CHECK(config.has_unlimited_memlock);
  REQUIRE(config.devices.size() == 1);
  CHECK(config.devices[0].path_on_host == "/dev/infiniband");
}

TEST_CASE("control groups of version 1, 2 and both") {
  const std::string v1 =
      "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,nosuid,cpu,cpuacct 0 0\n"
      "cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n"
      "cgroup /sys/fs/cgroup/freezer cgroup rw,freezer 0 0\n";
  CHECK(OwnCgroupDirs(v1, "3:memory:/user\n2:cpu,cpuacct:/\n1:freezer:/x\n") ==
        Words{"/sys/fs/cgroup/memory/user", "/sys/fs/cgroup/cpu,cpuacct"});
  const std::string v2 = "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n";
  CHECK(OwnCgroupDirs(v2, "0::/user.slice/a:b\n") == Words{"/sys/fs/cgroup/user.slice/a:b"});
  CHECK(OwnCgroupDirs("tmpfs / tmpfs rw 0 0\nbroken\n", "0::/\nbroken\n").empty());
}

TEST_CASE("a process is known by more than its pid") {
  auto child = process::Subprocess::Start({"sleep", "600"});
  REQUIRE(child.ok());
  auto identity = IdentifyProcess(child->pid());
  REQUIRE(identity.has_value());
  CHECK(IsAlive(*identity));
  ProcessIdentity other = *identity;
  ++other.start_ticks;
  CHECK_FALSE(IsAlive(other));
  other = *identity;
  other.boot_id = "another boot";
  CHECK_FALSE(IsAlive(other));
  KillProcessTree(*identity);
  CHECK_FALSE(IsAlive(*identity));  // a zombie, not yet reaped
  CHECK_FALSE(IdentifyProcess(1 << 30).has_value());
}

TEST_CASE("the watcher tells the end of many, and of those that ended before") {
  std::atomic<int> ended = 0;
  std::atomic<int> closed = 0;
  const auto count = [&](bool has_ended) { ++(has_ended ? ended : closed); };
  std::vector<process::Subprocess> children;
  {
    ExitWatcher watcher;
    for (int i = 0; i < 5; ++i) {
      auto child = process::Subprocess::Start({"sleep", "600"});
      REQUIRE(child.ok());
      children.push_back(*std::move(child));
      watcher.Watch(*IdentifyProcess(children.back().pid()), count);
    }
    watcher.Watch({.pid = 1, .start_ticks = 1, .boot_id = "gone"}, count);
    testing::Await(10s, [&] { return ended == 1; });
    for (int i = 0; i < 3; ++i) REQUIRE(children[static_cast<std::size_t>(i)].Kill(SIGKILL).ok());
    testing::Await(10s, [&] { return ended == 4; });
    CHECK(closed == 0);
  }
  CHECK(closed == 2);
}

TEST_CASE("the home of a user") {
  const std::string passwd =
      "root:x:0:0:root:/root:/bin/sh\n"
      "# uid 7 below is cut short\nshort:x:7\n"
      "worker:x:1000:1000::/home/worker:/bin/sh\n"
      "other:x:1000:1000::/home/other:/bin/sh\n"
      "odd:x:1001:1001::relative:/bin/sh";
  CHECK(HomeOfUser(passwd, 0, "/elsewhere") == "/root");
  CHECK(HomeOfUser(passwd, 1000, "") == "/home/worker");
  CHECK(HomeOfUser(passwd, 1001, "/elsewhere") == "/");
  CHECK(HomeOfUser(passwd, 7, "/elsewhere") == "/elsewhere");
  CHECK(HomeOfUser("", 5, "") == "/");
}

}  // namespace
}  // namespace dstack::shim
