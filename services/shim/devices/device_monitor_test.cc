// The monitor with scripted probes, and with the real helper program on a stand-in of NVIDIA's
// libraries.
#include "services/shim/devices/device_monitor.h"

#include <atomic>
#include <chrono>

#include <catch2/catch.hpp>
#include <stdlib.h>
#include <unistd.h>

#include "libs/testing/await.h"
#include "libs/testing/paths.h"
#include "libs/testing/temp_dir.h"
#include "services/shim/devices/fake_tools.h"
#include "services/shim/devices/gpu_text.h"
#include "services/shim/devices/nvidia_probe.h"
#include "services/shim/devices/nvidia_watch.h"
#include "services/shim/devices/probe_program.h"

namespace dstack::shim {
namespace {

using namespace std::chrono_literals;
using common::v1::Gpu;

Gpu MakeGpu(const std::string& id) {
  Gpu gpu;
  gpu.set_vendor(common::v1::GPU_VENDOR_NVIDIA);
  gpu.set_resource_id(id);
  gpu.set_uuid(id);
  return gpu;
}

// Answers when it is told to.
class Script {
 public:
  std::atomic<bool> is_answering = true;

  void Set(absl::StatusOr<DeviceList> answer) {
    base::MutexLock lock(mutex_);
    answer_ = std::move(answer);
  }
  absl::StatusOr<DeviceList> Get() {
    base::MutexLock lock(mutex_);
    return answer_;
  }

 private:
  base::Mutex mutex_;
  absl::StatusOr<DeviceList> answer_ = DeviceList{};
};

class ScriptedProbe final : public DeviceProbe {
 public:
  explicit ScriptedProbe(std::shared_ptr<Script> script) : script_(std::move(script)) {}
  std::string name() const override { return "scripted"; }
  bool IsPresent() const override { return true; }
  absl::StatusOr<DeviceList> Find(const std::stop_token& stop) override {
    while (!script_->is_answering) {
      if (stop.stop_requested()) return absl::CancelledError();
      std::this_thread::yield();
    }
    return script_->Get();
  }

 private:
  const std::shared_ptr<Script> script_;
};

struct Fixture {
  testing::TempDir dir;
  std::vector<std::shared_ptr<Script>> scripts;
  std::atomic<int> changes = 0;
  std::unique_ptr<DeviceMonitor> monitor;

  std::shared_ptr<Script> Add(std::vector<Gpu> gpus) {
    scripts.push_back(std::make_shared<Script>());
    scripts.back()->Set(DeviceList{.gpus = std::move(gpus)});
    return scripts.back();
  }
  void Make(base::Duration first_wait = 5s) {
    monitor.reset();
    std::vector<std::unique_ptr<DeviceProbe>> probes;
    for (const auto& script : scripts) probes.push_back(std::make_unique<ScriptedProbe>(script));
    base::MakeDirs(dir.Path("proc/sys/kernel/random"), 0700).IgnoreError();
    REQUIRE(base::WriteFileAtomic(dir.Path("proc/sys/kernel/random/boot_id"), boot).ok());
    monitor = std::make_unique<DeviceMonitor>(
        std::move(probes),
        DeviceMonitor::Settings{.root = dir.path(),
                                .memory_file = dir.Path("devices.pb"),
                                .first_wait = first_wait,
                                .known_wait = first_wait,
                                .retry_pause = 10ms});
    monitor->Start([this] { ++changes; });
  }
  std::string boot = "one";
};

TEST_CASE("S2 the first device's vendor and driver are among the facts") {
  Fixture f;
  Gpu gpu = MakeGpu("GPU-1");
  gpu.set_driver_version("550.54.15");
  f.Add({gpu});
  f.Make();
  REQUIRE(f.monitor->Current().gpus.size() == 1);
  CHECK(f.monitor->Current().gpus[0].vendor() == common::v1::GPU_VENDOR_NVIDIA);
  CHECK(f.monitor->Current().gpus[0].driver_version() == "550.54.15");
}

TEST_CASE("S3 a host without accelerators has none, at once") {
  Fixture f;
  f.Make();
  CHECK(f.monitor->Current().gpus.empty());
  CHECK_FALSE(f.monitor->Current().is_probing);
}

TEST_CASE("several makers on one host are listed together") {
  Fixture f;
  f.Add({MakeGpu("GPU-1")});
  f.Add({MakeGpu("/dev/dri/renderD128")});
  f.Make();
  CHECK(f.monitor->Current().gpus.size() == 2);
}

TEST_CASE("a probe that hangs does not hold up the start; its devices are told later") {
  Fixture f;
  const auto slow = f.Add({MakeGpu("GPU-1")});
  f.Add({MakeGpu("GPU-2")});
  slow->is_answering = false;
  f.Make(10ms);
  CHECK(f.monitor->Current().is_probing);
  slow->is_answering = true;
  testing::Await(5s, [&] { return f.monitor->Current().gpus.size() == 2; });
  CHECK_FALSE(f.monitor->Current().is_probing);
  testing::Await(5s, [&] { return f.changes.load() >= 2; });

  // After a restart of the shim the devices of the last time stand in for it.
  slow->is_answering = false;
  f.Make(10ms);
  CHECK(f.monitor->Current().is_probing);
  CHECK(f.monitor->Current().gpus.size() == 2);
  // It can be left while the probe still hangs.
  f.monitor.reset();
}

TEST_CASE("a device that does not come back has failed, until the next boot") {
  Fixture f;
  const auto script = f.Add({MakeGpu("GPU-1"), MakeGpu("GPU-2")});
  f.Make();
  script->Set(DeviceList{.gpus = {MakeGpu("GPU-2")}});
  f.Make();
  DeviceState state = f.monitor->Current();
  REQUIRE(state.gpus.size() == 2);
  CHECK(state.gpus[1].resource_id() == "GPU-1");
  CHECK(state.gpus[1].health() == common::v1::HEALTH_STATUS_FAILURE);
  CHECK_FALSE(state.gpus[1].health_message().empty());
  f.boot = "two";
  f.Make();
  CHECK(f.monitor->Current().gpus.size() == 1);
}

TEST_CASE("a card of any maker that leaves the bus has failed") {
  Fixture f;
  Gpu amd = MakeGpu("/dev/dri/renderD128");
  amd.set_vendor(common::v1::GPU_VENDOR_AMD);
  amd.clear_uuid();
  amd.set_pci_address("0000:03:00.0");
  f.Add({amd, MakeGpu("GPU-1")});
  const std::string place = f.dir.Path("sys/bus/pci/devices/0000:03:00.0");
  REQUIRE(base::MakeDirs(place, 0700).ok());
  f.Make();
  // The first answer itself.
  testing::Await(5s, [&] { return f.changes >= 1; });
  f.monitor->CheckBus();
  CHECK(f.monitor->Current().gpus[0].health() == common::v1::HEALTH_STATUS_UNSPECIFIED);
  REQUIRE(::rmdir(place.c_str()) == 0);
  const int before = f.changes;
  f.monitor->CheckBus();
  f.monitor->CheckBus();
  CHECK(f.changes == before + 1);
  CHECK(f.monitor->Current().gpus[0].health() == common::v1::HEALTH_STATUS_FAILURE);
  CHECK(f.monitor->Current().gpus[1].health() == common::v1::HEALTH_STATUS_UNSPECIFIED);
}

TEST_CASE("a card that comes back after it fell off the bus is given out again, once asked for") {
  Fixture f;
  Gpu card = MakeGpu("GPU-1");
  card.set_pci_address("0000:03:00.0");
  const auto script = f.Add({card, MakeGpu("GPU-2")});
  const std::string place = f.dir.Path("sys/bus/pci/devices/0000:03:00.0");
  REQUIRE(base::MakeDirs(place, 0700).ok());
  f.Make();
  const auto health = [&] { return f.monitor->Current().gpus[0].health(); };
  REQUIRE(::rmdir(place.c_str()) == 0);
  f.monitor->CheckBus();
  CHECK(health() == common::v1::HEALTH_STATUS_FAILURE);
  REQUIRE(base::MakeDirs(place, 0700).ok());
  // Its place alone says nothing.
  f.monitor->CheckBus();
  CHECK(health() == common::v1::HEALTH_STATUS_FAILURE);
  f.monitor->Refresh();
  CHECK(health() == common::v1::HEALTH_STATUS_HEALTHY);
  // An error of the driver stays.
  f.monitor->OnLine(ProbeEvent{.uuid = "GPU-1", .source = "xid", .code = 95});
  f.monitor->Refresh();
  CHECK(health() == common::v1::HEALTH_STATUS_FAILURE);
}

TEST_CASE("asked again: what has come is there, what has gone is lost") {
  Fixture f;
  const auto script = f.Add({MakeGpu("GPU-1")});
  f.Make();
  const int before = f.changes;
  script->Set(DeviceList{.gpus = {MakeGpu("GPU-2")}});
  f.monitor->Refresh();
  CHECK(f.changes > before);
  DeviceState state = f.monitor->Current();
  REQUIRE(state.gpus.size() == 2);
  CHECK(state.gpus[0].resource_id() == "GPU-2");
  CHECK(state.gpus[1].health() == common::v1::HEALTH_STATUS_FAILURE);
  script->Set(DeviceList{.gpus = {MakeGpu("GPU-1"), MakeGpu("GPU-2")}});
  f.monitor->Refresh();
  state = f.monitor->Current();
  REQUIRE(state.gpus.size() == 2);
  CHECK(state.gpus[0].health() != common::v1::HEALTH_STATUS_FAILURE);
  // Tools that fail take nothing away.
  script->Set(absl::UnavailableError("the driver is being changed"));
  f.monitor->Refresh();
  CHECK(f.monitor->Current().gpus.size() == 2);
}

TEST_CASE("a probe that fails is tried again") {
  Fixture f;
  const auto script = f.Add({});
  script->Set(absl::UnavailableError("the driver is not loaded"));
  f.Make();
  CHECK_FALSE(f.monitor->Current().is_probing);
  script->Set(DeviceList{.gpus = {MakeGpu("GPU-1")}});
  testing::Await(5s, [&] { return f.monitor->Current().gpus.size() == 1; });
}

TEST_CASE("errors of the driver and findings of the watcher become health") {
  Fixture f;
  f.Add({MakeGpu("GPU-1"), MakeGpu("GPU-2")});
  f.Make();
  const auto health = [&](std::size_t i) { return f.monitor->Current().gpus[i].health(); };
  CHECK(health(0) == common::v1::HEALTH_STATUS_UNSPECIFIED);
  f.monitor->OnLine(ProbeFacts{.devices = {.gpus = {MakeGpu("GPU-1"), MakeGpu("GPU-2")}}});
  CHECK(health(0) == common::v1::HEALTH_STATUS_HEALTHY);
  // A program's own mistake says nothing about the card.
  f.monitor->OnLine(ProbeEvent{.uuid = "GPU-1", .source = "xid", .code = 13});
  CHECK(health(0) == common::v1::HEALTH_STATUS_HEALTHY);
  f.monitor->OnLine(ProbeEvent{.uuid = "GPU-1", .source = "xid", .code = 63});
  CHECK(health(0) == common::v1::HEALTH_STATUS_WARNING);
  f.monitor->OnLine(ProbeEvent{.uuid = "GPU-1", .source = "xid", .code = 79});
  CHECK(health(0) == common::v1::HEALTH_STATUS_FAILURE);
  CHECK(f.monitor->Current().gpus[0].health_message().find("XID 79") != std::string::npos);
  CHECK(health(1) == common::v1::HEALTH_STATUS_HEALTHY);
  // Lasts over a restart of the shim, not over a boot.
  f.Make();
  CHECK(health(0) == common::v1::HEALTH_STATUS_FAILURE);
  f.boot = "two";
  f.Make();
  CHECK(health(0) == common::v1::HEALTH_STATUS_UNSPECIFIED);
}

TEST_CASE(
    "H2 health passes without incidents, and tells system, severity and device of those "
    "that come") {
  Fixture f;
  f.Add({MakeGpu("GPU-1"), MakeGpu("GPU-2")});
  f.Make();
  f.monitor->OnLine(ProbeHealth{});
  f.monitor->OnLine(ProbeFacts{.devices = {.gpus = {MakeGpu("GPU-1"), MakeGpu("GPU-2")}}});
  CHECK(f.monitor->Current().gpus[0].health() == common::v1::HEALTH_STATUS_HEALTHY);
  f.monitor->OnLine(ProbeHealth{{{.uuid = "GPU-1",
                                  .system = "memory",
                                  .health = common::v1::HEALTH_STATUS_FAILURE,
                                  .message = "2 double-bit errors"},
                                 {.uuid = "GPU-2",
                                  .system = "PCIe",
                                  .health = common::v1::HEALTH_STATUS_WARNING,
                                  .message = "replay rate"}}});
  const DeviceState state = f.monitor->Current();
  CHECK(state.gpus[0].health() == common::v1::HEALTH_STATUS_FAILURE);
  CHECK(state.gpus[0].health_message() == "memory: 2 double-bit errors");
  CHECK(state.gpus[1].health() == common::v1::HEALTH_STATUS_WARNING);
  // Taken back by the watcher itself.
  f.monitor->OnLine(ProbeHealth{});
  CHECK(f.monitor->Current().gpus[0].health() == common::v1::HEALTH_STATUS_HEALTHY);
}

TEST_CASE("lines that the helper program would never print are refused") {
  for (const char* line : {"", "{", "[]", "{\"type\": 3}", "{\"type\": \"new\"}"}) {
    CHECK_FALSE(ParseProbeLine(line).ok());
  }
  CHECK(ParseProbeLine("{\"type\": \"facts\", \"gpus\": [7, {\"uuid\": 1}]}").ok());
}

// The real program on the stand-ins.
struct Helper {
  Helper() {
    ::setenv("FAKE_NVML_DIR", dir.path().c_str(), 1);
    path = InstallProbe(dir.Path("gpu-probe")).value();
    program = {path, "--nvml", FAKE_NVML_LIBRARY, "--dcgm", FAKE_DCGM_LIBRARY};
  }
  testing::TempDir dir;
  std::string path;
  std::vector<std::string> program;
};

TEST_CASE("the helper program tells facts from NVIDIA's library") {
  Helper helper;
  const auto tools = HostTools(10s);
  const auto found = NvidiaProbe({*tools, ""}, helper.program).Find({});
  INFO(found.status());
  REQUIRE(found.ok());
  REQUIRE(found->gpus.size() == 4);
  CHECK(found->gpus[0].name() == "H100 80GB HBM3");
  CHECK(found->gpus[0].resource_id() == "GPU-0");
  CHECK(found->gpus[0].memory_bytes() == 80 * kGibibyte);
  CHECK(found->gpus[0].driver_version() == "550.54.15");
  CHECK(found->gpus[0].pci_address() == "0000:01:00.0");
  CHECK(found->gpus[2].resource_id() == "MIG-10");
  CHECK(found->gpus[2].parent_uuid() == "GPU-2");
  CHECK(found->gpus[3].memory_bytes() == 40 * kGibibyte);
  REQUIRE(found->links.size() == 3);
  CHECK(found->links[0].kind() == v1::GPU_LINK_KIND_DIRECT);
  CHECK(found->links[0].lanes() == 4);
  CHECK(found->links[1].kind() == v1::GPU_LINK_KIND_NUMA_NODE);
}

TEST_CASE("without NVIDIA's library its tool is asked; a library that hangs is given up") {
  Helper helper;
  FakeTools tools;
  tools.AnswerFile("nvidia-smi --query-gpu", "nvidia_smi_440.csv");
  CHECK(NvidiaProbe({tools, ""}, helper.program).Find({})->gpus.size() == 1);

  REQUIRE(base::WriteFileAtomic(helper.dir.Path("hang"), "").ok());
  const auto impatient = HostTools(200ms);
  const auto found = NvidiaProbe({*impatient, ""}, helper.program).Find({});
  CHECK_FALSE(found.ok());
}

TEST_CASE("an error, a lost card and DCGM's findings arrive within a second, and samples each") {
  Helper helper;
  Fixture f;
  f.Add({MakeGpu("GPU-0"), MakeGpu("GPU-1")});
  f.Make();
  NvidiaWatch watch(helper.program, [&](const ProbeLine& line) { f.monitor->OnLine(line); });
  const auto health = [&](std::size_t i) { return f.monitor->Current().gpus[i].health(); };
  testing::Await(10s, [&] { return health(0) == common::v1::HEALTH_STATUS_HEALTHY; });
  testing::Await(10s, [&] { return f.monitor->Samples().size() == 3; });
  CHECK(f.monitor->Samples()[1].usage_ratio() == Approx(0.51));
  CHECK(f.monitor->Samples()[1].power_watts() == Approx(120.5));

  REQUIRE(base::WriteFileAtomic(helper.dir.Path("dcgm"), "1 0x1 10 replays\n").ok());
  testing::Await(10s, [&] { return health(1) == common::v1::HEALTH_STATUS_WARNING; });
  CHECK(f.monitor->Current().gpus[1].health_message() == "PCIe: replays");
  REQUIRE(base::WriteFileAtomic(helper.dir.Path("xid"), "0 79\n").ok());
  testing::Await(10s, [&] { return health(0) == common::v1::HEALTH_STATUS_FAILURE; });
  REQUIRE(base::WriteFileAtomic(helper.dir.Path("lost"), "1\n").ok());
  testing::Await(10s, [&] { return health(1) == common::v1::HEALTH_STATUS_FAILURE; });
}

}  // namespace
}  // namespace dstack::shim
