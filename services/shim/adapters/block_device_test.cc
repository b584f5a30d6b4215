// Disks by recorded answers of the host's tools; tests/component/shim_agent/volume_test.cc has the
// real ones.
#include "services/shim/adapters/block_device.h"

#include <fstream>
#include <map>

#include <absl/strings/str_join.h>
#include <catch2/catch.hpp>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/base/status.h"
#include "libs/testing/temp_dir.h"
#include "services/shim/adapters/volume_store.h"

namespace dstack::shim {
namespace {

using namespace std::chrono_literals;

// Of an AWS Nitro instance with a root disk and two volumes.
constexpr char kLsblk[] = R"(NAME          SERIAL
loop0
nvme0n1       vol07dbeb6b5a43f5a54
├─nvme0n1p1
└─nvme0n1p15
nvme1n1       vol0a1b2c3d4e5f60718
nvme2n1       AWS19B01C1CBBB57CDB3
)";

struct Tools {
  std::map<std::string, process::RunResult> answers;  // by the command line
  std::vector<std::string> calls;

  ToolRunner Runner() {
    return [this](const std::vector<std::string>& argv,
                  std::chrono::milliseconds,
                  const std::stop_token&) -> absl::StatusOr<process::RunResult> {
      const std::string line = absl::StrJoin(argv, " ");
      calls.push_back(line);
      const auto it = answers.find(line);
      if (it == answers.end()) return absl::NotFoundError("no such program: " + argv[0]);
      return it->second;
    };
  }
  BlockDevices Devices(const std::string& dev_dir = "/dev") {
    return BlockDevices({.run = Runner(),
                         .dev_dir = dev_dir,
                         .find_limit = 0ms,
                         .find_pause = 1ms,
                         .probe_pause = 1ms});
  }
};

process::RunResult Answer(int code, const std::string& out, const std::string& err = "") {
  return {.exit = {.code = code}, .stdout_text = out, .stderr_text = err};
}

std::string ZeroFile(const testing::TempDir& dir, const std::string& name, off_t size) {
  std::string path = dir.Path(name);
  std::ofstream(path).flush();
  REQUIRE(::truncate(path.c_str(), size) == 0);
  return path;
}

std::string ProbeLine(const std::string& device) {
  return "blkid -p -o value -s TYPE -- " + device;
}

TEST_CASE("an AWS volume is found by its serial number") {
  CHECK(AwsDiskOf(kLsblk, "vol-0a1b2c3d4e5f60718") == "nvme1n1");
  CHECK(AwsDiskOf(kLsblk, "vol-0").empty());
  CHECK(AwsDiskOf("", "vol-0").empty());
}

TEST_CASE("a volume with partitions is its first partition") {
  testing::TempDir dir;
  ZeroFile(dir, "nvme1n1", 4096);
  ZeroFile(dir, "nvme1n1p1", 4096);
  Tools tools;
  tools.answers["lsblk -o NAME,SERIAL"] = Answer(0, kLsblk);
  const std::string names = "lsblk -ln -o NAME -- " + dir.Path("nvme1n1");
  tools.answers[names] = Answer(0, "nvme1n1\n");
  v1::VolumeMount volume;
  volume.set_name("data");
  volume.set_backend("aws");
  volume.set_volume_id("vol-0a1b2c3d4e5f60718");
  CHECK(*tools.Devices(dir.path()).Find(volume, {}) == dir.Path("nvme1n1"));
  tools.answers[names] = Answer(0, "nvme1n1\nnvme1n1p1\n");
  CHECK(*tools.Devices(dir.path()).Find(volume, {}) == dir.Path("nvme1n1p1"));
}

TEST_CASE("a GCP disk is found by its name, its first partition before itself") {
  testing::TempDir dir;
  const std::string disk = ZeroFile(dir, "sdb", 4096);
  const std::string partition = ZeroFile(dir, "sdb1", 4096);
  REQUIRE(base::MakeDirs(dir.Path("disk/by-id")).ok());
  v1::VolumeMount volume;
  volume.set_name("data");
  volume.set_backend("gcp");
  volume.set_device_name("pd-0");
  Tools tools;
  const absl::Status absent = tools.Devices(dir.path()).Find(volume, {}).status();
  CHECK(absl::IsNotFound(absent));
  CHECK(base::Message(absent).find("pd-0") != std::string_view::npos);
  REQUIRE(::symlink("../../sdb", dir.Path("disk/by-id/google-pd-0").c_str()) == 0);
  CHECK(*tools.Devices(dir.path()).Find(volume, {}) == disk);
  REQUIRE(::symlink("../../sdb1", dir.Path("disk/by-id/google-pd-0-part1").c_str()) == 0);
  CHECK(*tools.Devices(dir.path()).Find(volume, {}) == partition);
}

TEST_CASE("a disk counts as empty only after four looks and only when it is") {
  testing::TempDir dir;
  const std::string disk = ZeroFile(dir, "disk", 64 << 20);
  Tools tools;
  tools.answers[ProbeLine(disk)] = Answer(2, "");
  const auto empty = tools.Devices().FileSystemOf(disk, {});
  REQUIRE(empty.ok());
  CHECK(empty->empty());
  CHECK(tools.calls.size() == 4);
}

TEST_CASE("a disk that holds anything is not empty") {
  testing::TempDir dir;
  Tools tools;
  const struct {
    const char* name;
    process::RunResult answer;
  } rows[] = {
      {"a partition table", Answer(0, "")},
      {"several signatures", Answer(8, "", "ambivalent result")},
      {"an error of the tool", Answer(4, "", "usage")},
      {"killed", {.exit = {.signal = 9}}},
      {"words with the code for nothing", Answer(2, "", "")},
  };
  for (const auto& row : rows) {
    INFO(row.name);
    const std::string disk = ZeroFile(dir, "disk", 64 << 20);
    // The last row: blkid sees nothing, but there are bytes in the middle.
    if (row.answer.exit.code == 2) {
      std::fstream file(disk, std::ios::in | std::ios::out | std::ios::binary);
      file.seekp(32 << 20);
      file << "raw data";
    }
    tools.answers[ProbeLine(disk)] = row.answer;
    const auto type = tools.Devices().FileSystemOf(disk, {});
    CHECK(absl::IsFailedPrecondition(type.status()));
  }
  // The tool is absent: nothing is known, so nothing may be done.
  tools.answers.clear();
  CHECK_FALSE(tools.Devices().FileSystemOf(dir.Path("disk"), {}).ok());
}

TEST_CASE("what a failed formatting wrote is overwritten where zeros were read before") {
  testing::TempDir dir;
  constexpr std::uint64_t kSize = 64 << 20;
  // A file is a disk that takes nothing back by itself.
  const std::string disk = ZeroFile(dir, "disk", kSize);
  const std::string between(1, 'x');  // where nobody looks
  constexpr std::uint64_t kBetween = kSize / 2 + (200 << 10);
  const BlockDevices devices(
      {.run = [&](const std::vector<std::string>& argv,
                  std::chrono::milliseconds,
                  const std::stop_token&) -> absl::StatusOr<process::RunResult> {
         if (argv[0] == "blkid") return Answer(2, "");
         std::fstream file(disk, std::ios::in | std::ios::out | std::ios::binary);
         for (const std::uint64_t at : {std::uint64_t{1024}, kSize / 2, kBetween, kSize - 4096}) {
           file.seekp(static_cast<std::streamoff>(at)) << between;
         }
         return Answer(1, "", "mkfs.ext4: Input/output error");
       },
       .probe_pause = 1ms});
  REQUIRE(devices.FileSystemOf(disk, {}).ok());
  const absl::Status failed = devices.Format(disk, {});
  CHECK_THAT(std::string(base::Message(failed)), Catch::Contains("Input/output error"));
  CHECK(devices.FileSystemOf(disk, {}).value().empty());
  CHECK(base::ReadFile(disk, 2 * kSize).value().find_first_not_of('\0') == kBetween);
}

TEST_CASE("a file system is known at the first look") {
  Tools tools;
  tools.answers[ProbeLine("/dev/x")] = Answer(0, "xfs\n");
  CHECK(*tools.Devices().FileSystemOf("/dev/x", {}) == "xfs");
  CHECK(tools.calls.size() == 1);
}

TEST_CASE("a stop cuts the looking off") {
  testing::TempDir dir;
  Tools tools;
  tools.answers[ProbeLine(dir.Path("disk"))] = Answer(2, "");
  std::stop_source stop;
  stop.request_stop();
  const BlockDevices devices({.run = tools.Runner(), .probe_pause = 1h});
  CHECK(absl::IsCancelled(devices.FileSystemOf(dir.Path("disk"), stop.get_token()).status()));
}

TEST_CASE("a file system grows with its disk and only then") {
  testing::TempDir dir;
  const std::string disk = ZeroFile(dir, "disk", 8 << 20);
  Tools tools;
  tools.answers["dumpe2fs -h -- " + disk] = Answer(
      0, "Filesystem volume name:   <none>\nBlock count:              2048\nBlock size:  4096\n");
  CHECK(tools.Devices().GrowUnmounted(disk, "ext4", {}).ok());
  CHECK(tools.calls.size() == 1);
  REQUIRE(::truncate(disk.c_str(), 16 << 20) == 0);
  tools.answers["e2fsck -f -p -- " + disk] = Answer(1, "");
  tools.answers["resize2fs -- " + disk] = Answer(0, "");
  CHECK(tools.Devices().GrowUnmounted(disk, "ext4", {}).ok());
  CHECK(tools.calls.back() == "resize2fs -- " + disk);
  tools.answers["e2fsck -f -p -- " + disk] = Answer(4, "UNEXPECTED INCONSISTENCY");
  CHECK_FALSE(tools.Devices().GrowUnmounted(disk, "ext4", {}).ok());
  CHECK(tools.Devices().GrowUnmounted(disk, "xfs", {}).ok());
}

TEST_CASE("what is mounted where, by mountinfo") {
  constexpr char kText[] =
      "25 30 0:23 / /sys rw - sysfs sysfs rw\n"
      "40 30 7:0 / /mnt/disks/a rw,nosuid - ext4 /dev/loop0 rw\n"
      "41 30 7:1 / /mnt/disks/a rw,nosuid - ext4 /dev/loop1 rw\n";
  CHECK(MountedDevice(kText, "/mnt/disks/a") == "7:1");
  CHECK(MountedDevice(kText, "/mnt/disks").empty());
}

}  // namespace
}  // namespace dstack::shim
