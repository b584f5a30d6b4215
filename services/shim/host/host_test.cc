#include <catch2/catch.hpp>

#include "libs/testing/manual_clock.h"
#include "services/shim/host/facts.h"
#include "services/shim/host/metrics.h"

namespace dstack::shim {
namespace {

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

}  // namespace
}  // namespace dstack::shim
