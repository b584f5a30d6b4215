#include "services/runner/usage/cgroup.h"

#include <catch2/catch.hpp>

#include "libs/base/file.h"
#include "libs/testing/temp_dir.h"

namespace dstack::runner {
namespace {

constexpr char kV2[] = "30 23 0:26 / /sys/fs/cgroup ro,nosuid shared:9 - cgroup2 cgroup2 rw\n";
constexpr char kV1[] =
    "30 23 0:26 / /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
    "31 23 0:27 / /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n"
    "32 23 0:28 / /sys/fs/cgroup/unified ro - cgroup2 cgroup2 rw\n";

TEST_CASE("M2 the mount of version 2 is found") {
  CHECK(FindCgroup(kV2, "0::/\n").memory == "/sys/fs/cgroup");
  CHECK(FindCgroup(kV2, "0::/\n").is_v2);
}

TEST_CASE("M3 the path of version 2 is below its mount") {
  CHECK(FindCgroup(kV2, "0::/user.slice/x\n").cpu == "/sys/fs/cgroup/user.slice/x");
  CHECK(FindCgroup(kV2, "0::/../other\n").memory == "/sys/fs/cgroup");
}

// An error in the original.
TEST_CASE("M3 paths of version 1 alone serve as well, also as a hybrid") {
  const CgroupFiles files =
      FindCgroup(kV1, "5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n0::/\n");
  CHECK_FALSE(files.is_v2);
  CHECK(files.memory == "/sys/fs/cgroup/memory/docker/abc");
  CHECK(files.cpu == "/sys/fs/cgroup/cpu,cpuacct/docker/abc");
}

TEST_CASE("a container that sees its own part of the tree by the host's names") {
  constexpr char kMount[] =
      "30 23 0:26 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
      "31 23 0:27 /docker/abc /sys/fs/cgroup/cpuacct ro - cgroup cgroup rw,cpuacct\n";
  const CgroupFiles files = FindCgroup(kMount, "5:memory:/docker/abc\n4:cpuacct:/\n");
  CHECK(files.memory == "/sys/fs/cgroup/memory");
  CHECK(files.cpu == "/sys/fs/cgroup/cpuacct");
}

TEST_CASE("M2 malformed lines beside the mount are tolerated") {
  const std::string noise = "x\n\n30 23 0:26 /\n- cgroup2 cgroup2 rw\n1 2 3 4 5 6 - cgroup2\n";
  CHECK(FindCgroup(noise + kV2, "nonsense\n0::/a\n").memory == "/sys/fs/cgroup/a");
}

TEST_CASE("M3 cgroup path of version 2 among entries of version 1") {
  CHECK(FindCgroup(kV2, "2:pids:/p\n1:name=systemd:/s\n0::/found\n").memory ==
        "/sys/fs/cgroup/found");
}

TEST_CASE("bytes of disks in both versions") {
  const DiskBytes two = ParseIoStat(
      "8:0 rbytes=1000 wbytes=20 rios=3 wios=4 dbytes=0 dios=0\n253:0 rbytes=5 wbytes=6\nx\n",
      true);
  CHECK(two.read == 1005);
  CHECK(two.written == 26);
  const DiskBytes one =
      ParseIoStat("8:0 Read 7\n8:0 Write 8\n8:0 Sync 9\n8:0 Total 15\nTotal 15\n", false);
  CHECK(one.read == 7);
  CHECK(one.written == 8);
}

TEST_CASE("M2 without a mount there is nothing to read") {
  CHECK(FindCgroup("", "0::/\n").memory.empty());
  CHECK(FindCgroup("", "").memory.empty());
  CHECK(FindCgroup("garbage\n", "garbage\n").memory.empty());
}

TEST_CASE("M3 without a path there is nothing to read") {
  CHECK(FindCgroup(kV2, "").memory.empty());
  CHECK(FindCgroup(kV2, "garbage\n").memory.empty());
}

TEST_CASE("numbers in files") {
  const testing::TempDir temp;
  const std::string path = temp.Path("stat");
  REQUIRE(base::WriteFileAtomic(path, "cache 1\ninactive_file 25\ninactive_file_x 3\n").ok());
  CHECK(ReadKey(path, "inactive_file") == 25);
  CHECK_FALSE(ReadKey(path, "file").has_value());
  REQUIRE(base::WriteFileAtomic(path, "max\n").ok());
  CHECK_FALSE(ReadNumber(path).has_value());
  CHECK_FALSE(ReadNumber(temp.Path("absent")).has_value());
}

}  // namespace
}  // namespace dstack::runner
