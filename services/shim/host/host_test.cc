#include <catch2/catch.hpp>

#include "libs/testing/fake_root.h"
#include "libs/testing/manual_clock.h"
#include "libs/testing/manual_executor.h"
#include "services/shim/host/facts.h"
#include "services/shim/host/metrics.h"
#include "services/shim/host/metrics_log.h"
#include "services/shim/host/task_meter.h"
#include "services/shim/host/usage.h"

namespace dstack::shim {
namespace {

using testing::FakeRoot;

TEST_CASE("missing capabilities are named") {
  const std::string status = "Name:\tx\nCapBnd:\t000001fffeffffff\nSeccomp:\t0\n";
  CHECK(MissingCapabilities(status, 40) == std::vector<std::string>{"CAP_SYS_RESOURCE"});
  CHECK(MissingCapabilities("CapBnd:\t000001ffffffffff\n", 40).empty());
  // A kernel that knows fewer.
  CHECK(MissingCapabilities("CapBnd:\t0000003fffffffff\n", 37).empty());
  CHECK(MissingCapabilities("no such line\n", 40).empty());
}

TEST_CASE("memory numbers") {
  const std::string text = "MemTotal:       16384 kB\nMemAvailable:    8192 kB\n";
  CHECK(MeminfoBytes(text, "MemTotal") == 16384 * 1024);
  CHECK(MeminfoBytes(text, "MemAvailable") == 8192 * 1024);
  CHECK(MeminfoBytes(text, "Mem") == 0);
  CHECK(MeminfoBytes("MemTotal: x\n", "MemTotal") == 0);
}

TEST_CASE("processor time") {
  const CpuTicks ticks = ParseCpuTicks("cpu  10 0 20 60 5 3 2 0 7 0\ncpu0 1 1 1 1\n");
  CHECK(ticks.total == 100);
  CHECK(ticks.busy == 35);
  CHECK(ParseCpuTicks("").total == 0);
  CHECK(ParseCpuTicks("intr 1 2 3").total == 0);
}

TEST_CASE("this host") {
  common::v1::Gpu gpu;
  gpu.set_resource_id("GPU-1");
  const v1::HostFacts facts =
      ReadHostFacts({.kind = v1::CONTAINER_RUNTIME_PROCESS, .data_dir = "/"}, {gpu});
  CHECK(facts.resources().cpus() > 0);
  CHECK(facts.resources().memory_bytes() > 0);
  CHECK(facts.resources().disk_bytes() > 0);
  CHECK(facts.resources().gpus_size() == 1);
  CHECK_FALSE(facts.kernel_version().empty());
  CHECK_FALSE(facts.shim_version().empty());
  for (const std::string& address : facts.addresses()) {
    CHECK(address.find('/') != std::string::npos);
    CHECK_FALSE(address.starts_with("127."));
  }
  testing::ManualClock clock;
  const v1::HostMetrics metrics = HostMeter("/", clock).Sample();
  CHECK(metrics.cpu_usage_ratio() >= 0);
  CHECK(metrics.cpu_usage_ratio() <= 1);
  CHECK(metrics.memory_used_bytes() > 0);
  CHECK(metrics.disk_free_bytes() > 0);
}

// As the kernel writes them on a host with version 2.
void WriteVersion2(const FakeRoot& root) {
  const std::string group = "/sys/fs/cgroup/system.slice/docker-abc.scope";
  root.Write(group + "/cpu.stat", "usage_usec 1500000\nuser_usec 1000000\nsystem_usec 500000\n");
  root.Write(group + "/memory.current", "104857600\n");
  root.Write(group + "/memory.stat", "anon 52428800\nfile 52428800\ninactive_file 31457280\n");
  root.Write(group + "/io.stat",
             "8:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n"
             "259:0 rbytes=100 wbytes=0 rios=1 wios=0 dbytes=0 dios=0\n");
}

constexpr char kVersion1Groups[] =
    "12:blkio:/docker/abc\n11:cpu,cpuacct:/docker/abc\n10:freezer:/docker/abc\n"
    "9:memory:/docker/abc\n1:name=systemd:/docker/abc\n0::/system.slice/containerd.service\n";

void WriteVersion1(const FakeRoot& root) {
  root.Write("/sys/fs/cgroup/cpu,cpuacct/docker/abc/cpuacct.usage", "2500000000\n");
  root.Link("/sys/fs/cgroup/cpuacct", "cpu,cpuacct");
  root.Write("/sys/fs/cgroup/memory/docker/abc/memory.usage_in_bytes", "104857600\n");
  root.Write("/sys/fs/cgroup/memory/docker/abc/memory.stat",
             "cache 1\ninactive_file 7\ntotal_inactive_file 31457280\n");
  root.Write("/sys/fs/cgroup/blkio/docker/abc/blkio.throttle.io_service_bytes",
             "8:0 Read 4096\n8:0 Write 8192\n8:0 Sync 0\n8:0 Total 12288\nTotal 12288\n");
  // The mixed host's version 2 has no controllers.
  root.Write("/sys/fs/cgroup/unified/system.slice/containerd.service/cgroup.procs", "1\n");
}

TEST_CASE("usage of a control group of version 2") {
  FakeRoot root;
  WriteVersion2(root);
  const auto usage =
      ReadGroupUsage(root.path(), ParseGroupPaths("0::/system.slice/docker-abc.scope\n"));
  REQUIRE(usage.has_value());
  CHECK(*usage == GroupUsage{1'500'000, 104857600 - 31457280, {4196, 8192}});
  // Seen from a container that has the host's mount and a namespace of its own.
  CHECK(ReadGroupUsage(root.path(),
                       ParseGroupPaths("0::/docker/outer/system.slice/docker-abc.scope\n")) ==
        usage);
}

TEST_CASE("usage of control groups of version 1, and of a mixed host") {
  FakeRoot root;
  WriteVersion1(root);
  const auto usage = ReadGroupUsage(root.path(), ParseGroupPaths(kVersion1Groups));
  REQUIRE(usage.has_value());
  CHECK(*usage == GroupUsage{2'500'000, 104857600 - 31457280, {4096, 8192}});
}

TEST_CASE("groups that are not there, and damaged files") {
  FakeRoot root;
  CHECK_FALSE(ReadGroupUsage(root.path(), ParseGroupPaths(kVersion1Groups)));
  CHECK_FALSE(ReadGroupUsage(root.path(), ParseGroupPaths("")));
  CHECK(ParseGroupPaths("nonsense\n1:2\n::\n") == GroupPaths{});
  root.Write("/sys/fs/cgroup/x/memory.current", "max\n");
  root.Write("/sys/fs/cgroup/x/io.stat", "8:0 rbytes=oops\n");
  CHECK(ReadGroupUsage(root.path(), {.unified = "/x"}) == GroupUsage{});
}

TEST_CASE("bytes of interfaces and disks") {
  const std::string net =
      "Inter-|   Receive                                                |  Transmit\n"
      " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets\n"
      "    lo: 999 1 0 0 0 0 0 0 999 1 0 0 0 0 0 0\n"
      "  eth0: 1000 9 0 0 0 0 0 0 2000 8 0 0 0 0 0 0\n"
      "wlan0:5 1 0 0 0 0 0 0 7 1 0 0 0 0 0 0\n";
  const auto not_loopback = [](std::string_view name) { return name != "lo"; };
  CHECK(ParseNetDev(net, not_loopback) == ByteCounters{1005, 2007});
  CHECK(ParseNetDev("eth0: 1\n", not_loopback) == ByteCounters{});
  const std::string disks =
      "   8       0 sda 100 0 2048 0 50 0 4096 0 0 0 0\n"
      "   8       1 sda1 100 0 2048 0 50 0 4096 0 0 0 0\n";
  CHECK(ParseDiskstats(disks, [](std::string_view name) { return name == "sda"; }) ==
        ByteCounters{2048 * 512, 4096 * 512});
}

TEST_CASE("H1 a task's samples hold its own accelerators only") {
  FakeRoot root;
  WriteVersion2(root);
  root.Write("/proc/self/cgroup", "0::/system.slice/shim.service\n");
  root.Write("/proc/77/cgroup", "0::/system.slice/docker-abc.scope\n");
  root.Write("/proc/77/net/dev", "eth0: 10 1 0 0 0 0 0 0 20 1 0 0 0 0 0 0\n");
  root.Link("/proc/77/ns/net", "net:[2]");
  root.Link("/proc/self/ns/net", "net:[1]");
  v1::TaskStatus task;
  task.set_task_id("t");
  task.set_container_id("c");
  task.set_state(v1::TASK_STATE_RUNNING);
  task.add_gpu_ids("GPU-2");
  std::vector<v1::GpuMetrics> gpus(2);
  gpus[0].set_resource_id("GPU-1");
  gpus[1].set_resource_id("GPU-2");
  testing::ManualClock clock;
  testing::ManualExecutor steps(clock);
  int asked = 0;
  TaskMeter meter({.tasks = [&] { return std::vector<v1::TaskStatus>{task}; },
                   .pid_of = [&](const std::string&) { return ++asked == 1 ? 0 : 77; },
                   .gpus = [&] { return gpus; }},
                  steps,
                  root.path());
  // The process is not known at first, and asked for until it is.
  CHECK(meter.Sample().empty());
  steps.RunReady();
  CHECK(meter.Sample().empty());
  steps.RunReady();
  const auto samples = meter.Sample();
  REQUIRE(samples.size() == 1);
  CHECK(samples[0].task_id() == "t");
  CHECK(samples[0].cpu_usage_micros() == 1'500'000);
  CHECK(samples[0].network_sent_bytes() == 20);
  REQUIRE(samples[0].gpus_size() == 1);
  CHECK(samples[0].gpus(0).resource_id() == "GPU-2");
  CHECK(meter.Sample().size() == 1);
  CHECK(asked == 2);
  // A process in our own group has no numbers of its own.
  root.Write("/proc/77/cgroup", "0::/system.slice/shim.service\n");
  CHECK(meter.Sample().empty());
  task.set_state(v1::TASK_STATE_TERMINATED);
  CHECK(meter.Sample().empty());
}

TEST_CASE("samples wait for the server in bounded memory") {
  MetricsLog log(3);
  CHECK(log.Take(10).samples_size() == 0);
  for (std::uint64_t i = 0; i < 5; ++i) {
    v1::HostMetrics sample;
    sample.set_memory_used_bytes(i);
    log.Add(std::move(sample));
  }
  CHECK(log.size() == 3);
  CHECK(log.newest().memory_used_bytes() == 4);
  const v1::HostMetricsBatch batch = log.Take(2);
  REQUIRE(batch.samples_size() == 2);
  CHECK(batch.samples(0).memory_used_bytes() == 2);
  CHECK(batch.dropped() == 2);
  CHECK(log.Take(2).dropped() == 0);
  CHECK(log.size() == 0);
}

}  // namespace
}  // namespace dstack::shim
