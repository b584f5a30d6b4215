// Disks on loop devices: real file systems, real mounts.
#include <fstream>
#include <string>
#include <thread>

#include <catch2/catch.hpp>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "libs/base/file.h"
#include "libs/base/sha256.h"
#include "libs/base/status.h"
#include "libs/process/subprocess.h"
#include "libs/testing/await.h"
#include "libs/testing/paths.h"
#include "services/shim/adapters/volume_store.h"
#include "tests/component/runner_agent/session_client.h"
#include "tests/component/shim_agent/docker_fixture.h"
#include "tests/component/shim_agent/loop_disk.h"

namespace dstack::shim {
namespace {

using namespace std::chrono_literals;

struct Fixture {
  Fixture() { Restart({}); }
  ~Fixture() {
    for (const char* task : {"t1", "t2"}) static_cast<void>(store->Release(task).ok());
  }
  void Restart(const std::vector<std::pair<std::string, std::string>>& held) {
    store = std::make_unique<VolumeStore>(
        VolumeStoreSettings{.mount_root = dir.Path("mnt"),
                            .state_file = dir.Path("volumes.json"),
                            .devices = {.find_limit = 1s, .find_pause = 10ms, .probe_pause = 5ms}});
    store->Restore(held);
  }
  absl::StatusOr<std::string> Attach(const std::string& task,
                                     const LoopDisk& disk,
                                     bool may_format = true) {
    v1::VolumeMount volume;
    volume.set_name("data");
    volume.set_device_name(disk.device());
    volume.set_may_format(may_format);
    return store->Attach(task, volume, {});
  }
  bool IsMounted() const {
    return !MountedDevice(*base::ReadFile("/proc/self/mountinfo"), dir.Path("mnt/data")).empty();
  }
  std::uint64_t Size() const {
    struct statvfs info {};
    REQUIRE(::statvfs(dir.Path("mnt/data").c_str(), &info) == 0);
    return std::uint64_t{info.f_blocks} * info.f_frsize;
  }

  testing::TempDir dir;
  std::unique_ptr<VolumeStore> store;
};

TEST_CASE("an empty disk is formatted once, shared, and keeps its data") {
  if (!LoopDisk::CanMount()) return;
  const auto disk = LoopDisk::Make(48 << 20);
  Fixture f;
  const auto refused = f.Attach("t1", *disk, /*may_format=*/false);
  INFO(refused.status());
  CHECK(absl::IsFailedPrecondition(refused.status()));
  CHECK_FALSE(f.IsMounted());

  const auto directory = f.Attach("t1", *disk);
  INFO(directory.status());
  REQUIRE(directory.ok());
  struct stat info {};
  REQUIRE(::stat(directory->c_str(), &info) == 0);
  CHECK((info.st_mode & 0777U) == 0777);
  std::ofstream(*directory + "/file") << "kept";
  REQUIRE(f.Attach("t2", *disk).ok());
  REQUIRE(f.store->Release("t1").ok());
  CHECK(f.IsMounted());
  REQUIRE(f.store->Release("t2").ok());
  CHECK_FALSE(f.IsMounted());

  REQUIRE(f.Attach("t1", *disk).ok());
  CHECK(base::ReadFile(*directory + "/file").value_or("") == "kept");
}

TEST_CASE("two tasks at once format a disk once") {
  if (!LoopDisk::CanMount()) return;
  const auto disk = LoopDisk::Make(48 << 20);
  Fixture f;
  // As another shim of this host would: it knows nothing of the first.
  Fixture other;
  absl::Status first;
  std::thread thread([&] { first = f.Attach("t1", *disk).status(); });
  const absl::Status second = other.Attach("t2", *disk).status();
  thread.join();
  INFO(first);
  INFO(second);
  CHECK(first.ok());
  CHECK(second.ok());
  std::ofstream(f.dir.Path("mnt/data/file")) << "one file system";
  CHECK(base::ReadFile(other.dir.Path("mnt/data/file")).value_or("") == "one file system");
}

TEST_CASE("a disk that holds anything is never formatted") {
  if (!LoopDisk::CanMount()) return;
  // A partition table with one partition of Linux.
  std::string table(512, '\0');
  table.replace(446, 16, std::string("\0\0\0\0\x83\0\0\0\0\x08\0\0\0\x08\0\0", 16));
  table.replace(510, 2, "\x55\xaa");
  const struct {
    const char* name;
    std::vector<std::string> command;  // the device is appended
    std::string input;
  } rows[] = {{"a partition table", {"dd", "status=none", "conv=notrunc"}, table},
              {"swap", {"mkswap"}, ""},
              {"raw bytes in the middle", {"dd", "status=none", "bs=1M", "seek=24"}, "raw"}};
  for (const auto& row : rows) {
    INFO(row.name);
    const auto disk = LoopDisk::Make(48 << 20);
    std::vector<std::string> command = row.command;
    command.push_back(command[0] == "dd" ? "of=" + disk->device() : disk->device());
    const auto made = process::RunChecked(command, 20s, {.stdin_data = row.input});
    INFO(made.status());
    REQUIRE(made.ok());
    REQUIRE(process::RunChecked({"sync", disk->device()}, 20s).ok());
    const std::string before = base::Sha256Hex(*base::ReadFile(disk->image()));
    Fixture f;
    const auto attached = f.Attach("t1", *disk);
    INFO(attached.status());
    CHECK_FALSE(attached.ok());
    CHECK_FALSE(f.IsMounted());
    CHECK(base::Sha256Hex(*base::ReadFile(disk->image())) == before);
  }
}

TEST_CASE("a file system follows a disk that has grown") {
  if (!LoopDisk::CanMount()) return;
  const auto disk = LoopDisk::Make(32 << 20);
  Fixture f;
  REQUIRE(f.Attach("t1", *disk).ok());
  std::ofstream(f.dir.Path("mnt/data/file")) << "kept";
  const std::uint64_t before = f.Size();
  REQUIRE(f.store->Release("t1").ok());
  disk->Grow(96 << 20);
  REQUIRE(f.Attach("t1", *disk).ok());
  CHECK(f.Size() > 2 * before);
  CHECK(base::ReadFile(f.dir.Path("mnt/data/file")).value_or("") == "kept");
}

TEST_CASE("what a crash leaves mounted is unmounted, what live tasks hold stays") {
  if (!LoopDisk::CanMount()) return;
  const auto disk = LoopDisk::Make(48 << 20);
  Fixture f;
  REQUIRE(f.Attach("t1", *disk).ok());
  f.Restart({{"t1", "data"}});
  CHECK(f.IsMounted());
  f.Restart({});
  CHECK_FALSE(f.IsMounted());
}

TEST_CASE("a task writes to its disk, and the disk is unmounted at its end") {
  if (!LoopDisk::CanMount()) return;
  const auto disk = LoopDisk::Make(48 << 20);
  testing::TempDir mounts;
  const auto fixture = DockerFixture::Ready({.extra_args = {"--volumes-dir", mounts.Path("v")}});
  if (!fixture) return;
  v1::TaskSpec task = MakeTask(testing::kBusyboxImage);
  auto* volume = task.add_volumes();
  volume->set_name("data");
  volume->set_device_name(disk->device());
  volume->set_may_format(true);
  volume->set_container_path("/data");
  const auto running = fixture->Run(task);
  runner::ServerStore store;
  {
    runner::SessionClient session("unix:" + running.runner_socket(), task.runner_token(), store);
    session.Submit(runner::MakeShellJob("echo written >/data/file; sleep 600"));
    session.AwaitFilesNeeded();
    session.StartJob();
    testing::Await(20s, [&] {
      return base::ReadFile(mounts.Path("v/data/file")).value_or("") == "written\n";
    });
  }
  fixture->Restart();
  CHECK(base::Exists(mounts.Path("v/data/file")));
  fixture->End(task);
  CHECK_FALSE(base::Exists(mounts.Path("v/data/file")));
}

}  // namespace
}  // namespace dstack::shim
