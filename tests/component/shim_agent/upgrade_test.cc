// A shim goes over to other binaries while its tasks go on.
#include <chrono>
#include <optional>
#include <string>

#include <catch2/catch.hpp>
#include <signal.h>

#include "libs/base/file.h"
#include "libs/base/sha256.h"
#include "libs/testing/await.h"
#include "libs/testing/paths.h"
#include "libs/testing/small_disk.h"
#include "tests/component/runner_agent/session_client.h"
#include "tests/component/shim_agent/installed_shim.h"
#include "tests/component/shim_agent/shim_client.h"
#include "tests/component/shim_agent/shim_process.h"

namespace dstack::shim {
namespace {

using namespace std::chrono_literals;

v1::TaskSpec StartJob(ShimClient& client, const std::string& script, const std::string& word) {
  v1::TaskSpec task = MakeTask("");
  task.set_network_mode(v1::NETWORK_MODE_HOST);
  client.Submit(task);
  const auto running = client.AwaitState(task.task_id(), v1::TASK_STATE_RUNNING);
  runner::ServerStore store;
  runner::SessionClient session("unix:" + running.runner_socket(), task.runner_token(), store);
  session.Submit(runner::MakeShellJob(script));
  session.AwaitFilesNeeded();
  session.StartJob();
  session.AwaitText(common::v1::LOG_SOURCE_JOB, word);
  return task;
}

void EndTask(ShimClient& client, const std::string& task_id) {
  client.Terminate(task_id, 0);
  client.AwaitState(task_id, v1::TASK_STATE_TERMINATED);
  client.Remove(task_id);
  client.AwaitRemoved(task_id);
}

TEST_CASE("T5 a shim goes over to new binaries while a job runs") {
  const InstalledShim shim;
  std::optional<ShimClient> client(std::in_place, shim.Target());
  CHECK(client->AwaitHello().capabilities().has_upgrade());
  const v1::TaskSpec task = StartJob(*client, "echo begun; sleep 600", "begun");
  const v1::TaskStatus before = client->Status(task.task_id());
  const Programs programs = OtherPrograms();
  Upgrade(*client, programs);
  client->AwaitUpgrade(v1::UPGRADE_STATE_ACTIVATING);
  Reconnect(client, shim);
  const auto components = client->AwaitHello().components();
  REQUIRE(components.size() == 2);
  CHECK(base::Sha256Hex(programs.shim).starts_with(components[0].sha256()));
  CHECK(base::Sha256Hex(programs.runner).starts_with(components[1].sha256()));
  CHECK(shim.RunningProgram() == shim.Path("dstack-shim", programs.shim));
  const auto after = client->AwaitState(task.task_id(), v1::TASK_STATE_RUNNING);
  CHECK(after.container_id() == before.container_id());
  client->AwaitUpgrade(v1::UPGRADE_STATE_ACTIVE);
  // Its task may still need the old runner.
  const std::string old_runner = shim.Path("dstack-runner", ThesePrograms().runner);
  CHECK(base::Exists(old_runner));
  EndTask(*client, task.task_id());
  testing::Await(20s, [&] { return !base::Exists(old_runner); });
  // What the host begins with after a reboot stays.
  CHECK(base::Exists(shim.Path("dstack-shim", ThesePrograms().shim)));
  CHECK(base::Exists(shim.Path("dstack-runner", programs.runner)));
}

TEST_CASE("a new shim that dies or hangs is followed by the old one, which says so") {
  const bool hangs = GENERATE(false, true);
  INFO(hangs);
  const InstalledShim shim(
      {.flags = {"--trial-limit", hangs ? "1" : "60"}, .bad_shim_mode = hangs ? "hang" : ""});
  std::optional<ShimClient> client(std::in_place, shim.Target());
  const v1::TaskSpec task = StartJob(*client, "echo begun; sleep 600", "begun");
  const v1::TaskStatus before = client->Status(task.task_id());
  Programs programs = ThesePrograms();
  programs.shim = Stripped(testing::BuildDir() + "/test-bin/bad_shim");
  Upgrade(*client, programs);
  client->AwaitUpgrade(v1::UPGRADE_STATE_ACTIVATING);
  Reconnect(client, shim);
  const v1::UpgradeStatus status = client->AwaitUpgrade(v1::UPGRADE_STATE_ROLLED_BACK);
  INFO(status.message());
  CHECK(status.message().find(hangs ? "did not serve" : "exited with status 3") !=
        std::string::npos);
  REQUIRE(status.components_size() == 2);
  CHECK(base::Sha256Hex(programs.shim).starts_with(status.components(0).sha256()));
  CHECK(shim.RunningProgram() == shim.Path("dstack-shim", ThesePrograms().shim));
  const auto after = client->AwaitState(task.task_id(), v1::TASK_STATE_RUNNING);
  CHECK(after.container_id() == before.container_id());
  EndTask(*client, task.task_id());
}

TEST_CASE("the way back is open on a full disk") {
  const auto disk = testing::SmallDisk::Make(256 << 20);
  if (!disk) return;
  const InstalledShim shim(
      {.home = disk->Path("h"), .flags = {"--trial-limit", "2"}, .bad_shim_mode = "hang"});
  std::optional<ShimClient> client(std::in_place, shim.Target());
  Programs programs = ThesePrograms();
  programs.shim = Stripped(testing::BuildDir() + "/test-bin/bad_shim");
  Upgrade(*client, programs);
  client->AwaitUpgrade(v1::UPGRADE_STATE_ACTIVATING);
  disk->Fill();
  Reconnect(client, shim);
  client->AwaitUpgrade(v1::UPGRADE_STATE_ROLLED_BACK);
  CHECK(shim.RunningProgram() == shim.Path("dstack-shim", ThesePrograms().shim));
}

TEST_CASE("a shim on trial that is killed before it has proved itself is taken for bad") {
  const InstalledShim shim;
  std::optional<ShimClient> client(std::in_place, shim.Target());
  const Programs programs = OtherPrograms();
  Upgrade(*client, programs);
  Reconnect(client, shim);
  ::kill(shim.ShimPid().value(), SIGKILL);
  Reconnect(client, shim);
  CHECK(client->AwaitUpgrade(v1::UPGRADE_STATE_ROLLED_BACK).message().find("signal 9") !=
        std::string::npos);
}

TEST_CASE("an activation that cannot work changes nothing") {
  const InstalledShim shim;
  ShimClient client(shim.Target());
  client.AwaitSynced();
  const auto pid = shim.ShimPid();
  Activate(client, OtherPrograms());
  CHECK(client.AwaitUpgrade(v1::UPGRADE_STATE_REFUSED).message().find("has not arrived") !=
        std::string::npos);
  CHECK(shim.ShimPid() == pid);
}

TEST_CASE("a shim that nobody would start again takes no other binaries") {
  ShimProcess shim({.runtime = "process"});
  shim.Start();
  ShimClient client(shim.Target());
  CHECK_FALSE(client.AwaitHello().capabilities().has_upgrade());
  Activate(client, OtherPrograms());
  CHECK(client.AwaitUpgrade(v1::UPGRADE_STATE_REFUSED).message().find("--supervise") !=
        std::string::npos);
}

}  // namespace
}  // namespace dstack::shim
