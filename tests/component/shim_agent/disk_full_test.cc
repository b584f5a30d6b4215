// Disks without space, of each kind that the shim writes to: the reason says which, nothing is
// lost, no half file stays, and all goes on when there is room again.
#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <catch2/catch.hpp>
#include <fmt/format.h>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/base/sha256.h"
#include "libs/base/status.h"
#include "libs/docker/images.h"
#include "libs/exec/thread_pool.h"
#include "libs/exec/timer.h"
#include "libs/testing/small_disk.h"
#include "services/shim/adapters/linux_host_resources.h"
#include "services/shim/update/component_store.h"
#include "tests/component/runner_agent/session_client.h"
#include "tests/component/shim_agent/docker_fixture.h"
#include "tests/component/shim_agent/loop_disk.h"
#include "tests/component/shim_agent/test_registry.h"

namespace dstack::shim {
namespace {

using namespace std::chrono_literals;
using testing::kBusyboxImage;
using testing::SmallDisk;

constexpr char kNoSpace[] = "No space left on device";
constexpr char kKey[] =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPvMKTHGgFKBnfzmgLDqlJy7VwiocGfGMXYQeo4IJ7Xe";
constexpr char kOwnLine[] = "ssh-rsa AAAA own@home\n";

bool Says(const std::string& text, const std::string& part) {
  INFO(text);
  return text.find(part) != std::string::npos;
}

std::vector<std::string> NamesIn(const std::string& directory) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

// Disks and keys whose accounts' homes, mounts and lists can lie on full disks.
struct Host {
  Host(const std::string& account_home, const std::string& state) {
    REQUIRE(base::WriteFileAtomic(
                passwd.Path("passwd"),
                fmt::format("ann:x:{}:{}::{}:/bin/sh\n", ::geteuid(), ::getegid(), account_home))
                .ok());
    resources.emplace(
        VolumeStoreSettings{.mount_root = mounts.Path("mnt"),
                            .state_file = state + "/volumes.json",
                            .devices = {.find_limit = 1s, .find_pause = 10ms, .probe_pause = 5ms}},
        HostKeysSettings{.owner = "shim",
                         .state_file = state + "/accounts.json",
                         .passwd_file = passwd.Path("passwd")},
        pool,
        *timers);
    resources->Restore({});
  }
  ~Host() {
    timers.reset();
    pool.Shutdown();
  }

  testing::TempDir passwd;
  testing::TempDir mounts;
  std::optional<exec::TimerQueue> timers{std::in_place};
  std::optional<LinuxHostResources> resources;
  exec::ThreadPool pool{"test", 1};
};

v1::TaskSpec SpecWithKey(const std::string& task_id) {
  v1::TaskSpec spec;
  spec.set_task_id(task_id);
  spec.set_host_ssh_user("ann");
  spec.add_host_ssh_keys(kKey);
  return spec;
}

TEST_CASE("a full disk keeps an account's keys whole, and they follow when there is room") {
  const auto disk = SmallDisk::Make(1 << 20);
  if (!disk) return;
  const testing::TempDir state;
  Host host(disk->path(), state.path());
  const std::string path = disk->Path(".ssh/authorized_keys");
  REQUIRE(base::MakeDirs(disk->Path(".ssh"), 0700).ok());
  REQUIRE(base::WriteFileAtomic(path, kOwnLine, 0600).ok());
  const auto names = NamesIn(disk->Path(".ssh"));
  disk->Fill();
  const absl::Status opened = host.resources->OpenPorts(SpecWithKey("t1"), {4000});
  CHECK(Says(std::string(opened.message()), kNoSpace));
  CHECK(Says(std::string(opened.message()), path));
  CHECK(base::ReadFile(path).value_or("") == kOwnLine);
  CHECK(NamesIn(disk->Path(".ssh")) == names);

  disk->MakeRoom();
  REQUIRE(host.resources->OpenPorts(SpecWithKey("t1"), {4000}).ok());
  CHECK(Says(base::ReadFile(path).value_or(""), "127.0.0.1:4000"));
  // The key of an ended task goes by itself once it can.
  disk->Fill();
  CHECK_FALSE(host.resources->Release(SpecWithKey("t1")).ok());
  CHECK(Says(base::ReadFile(path).value_or(""), kOwnLine));
  disk->MakeRoom();
  testing::Await(20s, [&] { return base::ReadFile(path).value_or("") == kOwnLine; });
}

TEST_CASE("what a crash would have to find again is not begun when it cannot be written down") {
  const auto state = SmallDisk::Make(1 << 20);
  if (!state || !LoopDisk::CanMount()) return;
  const testing::TempDir home;
  const auto disk = LoopDisk::Make(48 << 20);
  v1::TaskSpec spec = SpecWithKey("t1");
  auto* volume = spec.add_volumes();
  volume->set_name("data");
  volume->set_device_name(disk->device());
  volume->set_may_format(true);
  Host host(home.path(), state->path());
  state->Fill();
  const auto refused = host.resources->Prepare(spec, {});
  CHECK(Says(std::string(refused.status().message()), "volume data"));
  CHECK(Says(std::string(refused.status().message()), kNoSpace));
  CHECK(Says(std::string(refused.status().message()), "volumes.json"));
  CHECK_FALSE(Says(*base::ReadFile("/proc/self/mountinfo"), host.mounts.path()));
  const absl::Status opened = host.resources->OpenPorts(spec, {4000});
  CHECK(Says(std::string(opened.message()), kNoSpace));
  CHECK_FALSE(base::Exists(home.Path(".ssh/authorized_keys")));
  CHECK(NamesIn(state->path()) == std::vector<std::string>{"filler"});

  state->MakeRoom();
  const auto prepared = host.resources->Prepare(spec, {});
  INFO(prepared.status());
  REQUIRE(prepared.ok());
  CHECK(host.resources->OpenPorts(spec, {4000}).ok());
  CHECK(host.resources->Release(spec).ok());
  CHECK_FALSE(Says(*base::ReadFile("/proc/self/mountinfo"), host.mounts.path()));
}

TEST_CASE("a disk whose storage is full gets no file system, and gets one when there is room") {
  if (!LoopDisk::CanMount()) return;
  const auto storage = SmallDisk::Make(24 << 20);
  if (!storage) return;
  const testing::TempDir other;
  // Larger than what is behind it, as with thin provisioning.
  const auto disk = LoopDisk::Make(64 << 20, storage->path());
  storage->Fill();
  v1::TaskSpec spec;
  spec.set_task_id("t1");
  auto* volume = spec.add_volumes();
  volume->set_name("data");
  volume->set_device_name(disk->device());
  volume->set_may_format(true);
  Host host(other.path(), other.path());
  const auto refused = host.resources->Prepare(spec, {});
  CHECK_FALSE(refused.ok());
  CHECK(Says(std::string(refused.status().message()), "volume data"));
  CHECK_FALSE(Says(*base::ReadFile("/proc/self/mountinfo"), host.mounts.path()));
  CHECK(NamesIn(host.mounts.Path("mnt")).empty());

  storage->MakeRoom();
  const auto prepared = host.resources->Prepare(spec, {});
  INFO(prepared.status());
  REQUIRE(prepared.ok());
  std::ofstream(host.mounts.Path("mnt/data/file")) << "kept";
  CHECK(host.resources->Release(spec).ok());
}

TEST_CASE("components that find no room are refused and leave nothing, later they are taken") {
  const auto disk = SmallDisk::Make(4 << 20);
  if (!disk) return;
  ComponentStore store{ShimHome(disk->path())};
  const std::string self = base::ReadFile("/proc/self/exe", std::size_t{512} << 20).value_or("");
  const std::string whole = self.substr(0, 1 << 20);
  const auto send = [&](std::size_t offset, std::size_t size) {
    v1::ComponentChunk chunk;
    chunk.mutable_component()->set_component(v1::COMPONENT_RUNNER);
    chunk.mutable_component()->set_sha256(base::Sha256Hex(whole));
    chunk.set_total_bytes(whole.size());
    chunk.set_offset(offset);
    chunk.set_data(whole.substr(offset, size));
    return store.Receive(chunk);
  };
  REQUIRE(send(0, 4096).state() == v1::COMPONENT_STATE_RECEIVING);
  disk->Fill();
  const v1::ComponentStatus refused = send(4096, whole.size());
  CHECK(refused.state() == v1::COMPONENT_STATE_REFUSED);
  CHECK(refused.reason() == "DISK_FULL");
  CHECK(Says(refused.message(), kNoSpace));
  CHECK(Says(refused.message(), disk->path()));
  CHECK(NamesIn(disk->Path("bin")).empty());
  CHECK(send(0, 4096).state() == v1::COMPONENT_STATE_RECEIVING);  // what the rest has freed

  disk->MakeRoom();
  CHECK(send(0, whole.size()).state() == v1::COMPONENT_STATE_STAGED);
  CHECK(NamesIn(disk->Path("bin")).size() == 1);
}

TEST_CASE("W6 a shim on a full disk takes no new task, starts again, and keeps the running one") {
  const auto disk = SmallDisk::Make(16 << 20);
  if (!disk) return;
  const auto fixture = DockerFixture::Ready({.home = disk->Path("h")});
  if (!fixture) return;
  const v1::TaskSpec task = MakeTask(kBusyboxImage);
  const auto running = fixture->Run(task);
  runner::ServerStore store;
  std::optional<runner::SessionClient> session(
      std::in_place, "unix:" + running.runner_socket(), task.runner_token(), store);
  session->Submit(runner::MakeShellJob(
      "echo begun; while [ ! -e /dstack/runner/go ]; do sleep 0.05; done; "
      "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done; exit 7"));
  session->AwaitFilesNeeded();
  session->StartJob();
  session->AwaitText(common::v1::LOG_SOURCE_JOB, "begun");
  const auto names = NamesIn(disk->Path("h/tasks"));
  disk->Fill();

  v1::TaskSpec refused = MakeTask(kBusyboxImage);
  refused.set_name("test-1-0");
  fixture->client->Submit(refused);
  const v1::CommandFailed failure = fixture->client->AwaitFailure();
  INFO(failure.ShortDebugString());
  CHECK(failure.task_id() == refused.task_id());
  CHECK(failure.reason() == "DISK_FULL");
  CHECK(Says(failure.message(), kNoSpace));
  CHECK(NamesIn(disk->Path("h/tasks")) == names);

  // A new process on a full disk, and a server that has taken the host over.
  fixture->client.reset();
  fixture->shim.Kill();
  fixture->shim.Start();
  fixture->Connect(/*epoch=*/12);
  const auto after = fixture->client->AwaitState(task.task_id(), v1::TASK_STATE_RUNNING);
  CHECK(after.container_id() == running.container_id());
  CHECK(fixture->Containers().size() == 1);

  // What the job writes now waits for room, on the disk or in its terminal.
  std::ofstream(disk->Path("h/tasks/" + task.task_id() + "/runner/go")).flush();
  disk->MakeRoom();
  session->AwaitState(runner::v1::JOB_STATE_FINISHED);
  session->AwaitEndOfLogs();
  session->AckEnd();
  session->AwaitClosed();
  CHECK(Says(store.text[common::v1::LOG_SOURCE_JOB], "line 1999\n"));
  CHECK(store.defect.empty());
  const auto ended = fixture->client->AwaitState(task.task_id(), v1::TASK_STATE_TERMINATED);
  CHECK(ended.exit_status() == 7);

  fixture->Run(refused);
  for (const auto& id : {task.task_id(), refused.task_id()}) {
    fixture->client->Terminate(id, 0);
    fixture->client->AwaitState(id, v1::TASK_STATE_TERMINATED);
    fixture->client->Remove(id);
    fixture->client->AwaitRemoved(id);
  }
  CHECK(NamesIn(disk->Path("h/tasks")).empty());
}

TEST_CASE("W6 the end of a task on a full disk is told at once, and removing it makes room") {
  const auto disk = SmallDisk::Make(16 << 20);
  if (!disk) return;
  const auto fixture = DockerFixture::Ready({.home = disk->Path("h")});
  if (!fixture) return;
  const v1::TaskSpec task = MakeTask(kBusyboxImage);
  fixture->Run(task);
  disk->Fill();
  fixture->client->Terminate(task.task_id(), 0, "enough");
  const auto ended = fixture->client->AwaitState(task.task_id(), v1::TASK_STATE_TERMINATED);
  CHECK(ended.termination_reason() == v1::TASK_TERMINATION_REASON_TERMINATED_BY_SERVER);
  CHECK(ended.termination_message() == "enough");
  fixture->client->Remove(task.task_id());
  fixture->client->AwaitRemoved(task.task_id());
  CHECK(fixture->Containers().empty());
  CHECK(NamesIn(disk->Path("h/tasks")).empty());
}

TEST_CASE("an image that does not fit says which disk is full, and comes when there is room") {
  const auto disk = SmallDisk::Make(48 << 20);
  if (!disk) return;
  auto engine = testing::MiniDocker::StartPrivate(disk->Path("data"));
  if (!engine.ok()) return testing::Skip(std::string(engine.status().message()));
  BadRegistry registry;
  const std::string data_dir = disk->Path("data");
  const std::string engine_host = (*engine)->host();
  DockerFixture fixture(*std::move(engine), {.docker_host = engine_host});
  fixture.Start();
  fixture.Connect();
  disk->Fill();
  const v1::TaskSpec task = MakeTask(registry.Image("plain"));
  fixture.client->Submit(task);
  const auto ended = fixture.client->AwaitState(task.task_id(), v1::TASK_STATE_TERMINATED);
  CHECK(ended.termination_reason() == v1::TASK_TERMINATION_REASON_CREATING_CONTAINER_ERROR);
  CHECK(Says(ended.termination_message(), "disk is full"));
  CHECK(Says(ended.termination_message(), data_dir + " has 0 of 48 MiB free"));
  CHECK(Says(ended.termination_message(), "plain"));

  disk->MakeRoom();
  const v1::TaskSpec again = MakeTask(registry.Image("plain"));
  fixture.client->Submit(again);
  fixture.client->AwaitState(again.task_id(), v1::TASK_STATE_RUNNING);
}

}  // namespace
}  // namespace dstack::shim
