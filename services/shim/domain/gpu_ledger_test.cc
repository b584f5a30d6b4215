#include "services/shim/domain/gpu_ledger.h"

#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

namespace dstack::shim {
namespace {

using Ids = std::vector<std::string>;

common::v1::Gpu MakeGpu(const std::string& id,
                        common::v1::GpuVendor vendor = common::v1::GPU_VENDOR_NVIDIA) {
  common::v1::Gpu gpu;
  gpu.set_resource_id(id);
  gpu.set_vendor(vendor);
  return gpu;
}

TEST_CASE("G1 a host without accelerators has nothing to give") {
  GpuLedger ledger;
  CHECK(ledger.free_count() == 0);
  CHECK(ledger.Acquire("t", -1).value().empty());
  CHECK(ledger.Acquire("t", 1).status().code() == absl::StatusCode::kResourceExhausted);
}

TEST_CASE("G2 the ledger is keyed by UUID for NVIDIA and by render node for AMD") {
  GpuLedger ledger;
  ledger.SetDevices({MakeGpu("GPU-1"), MakeGpu("/dev/dri/renderD128", common::v1::GPU_VENDOR_AMD)},
                    {});
  CHECK(ledger.Lock("t", {"GPU-1", "/dev/dri/renderD128"}) == Ids{"GPU-1", "/dev/dri/renderD128"});
}

TEST_CASE("G3 two vendors on one host are one ledger, and no error as they once were") {
  GpuLedger ledger;
  ledger.SetDevices({MakeGpu("GPU-1"),
                     MakeGpu("/dev/dri/renderD128", common::v1::GPU_VENDOR_AMD),
                     MakeGpu("GPU-2")},
                    {});
  // A task gets devices of one maker while there are enough.
  CHECK(ledger.Acquire("t1", 2).value() == Ids{"GPU-1", "GPU-2"});
  CHECK(ledger.Acquire("t2", 1).value() == Ids{"/dev/dri/renderD128"});
}

TEST_CASE("G4 counts that make no sense are errors that quote them") {
  GpuLedger ledger(Ids{"a"});
  for (const int count : {0, -2}) {
    const absl::Status status = ledger.Acquire("t", count).status();
    CHECK(status.code() == absl::StatusCode::kInvalidArgument);
    CHECK(std::string(status.message()).find(std::to_string(count)) != std::string::npos);
  }
}

TEST_CASE("G5 minus one takes every free device and skips busy ones") {
  GpuLedger ledger(Ids{"a", "b", "c"});
  REQUIRE(ledger.Acquire("t1", 1).value() == Ids{"a"});
  CHECK(ledger.Acquire("t2", -1).value() == Ids{"b", "c"});
}

TEST_CASE("G6 minus one succeeds with nothing when all are busy or none exist") {
  GpuLedger ledger(Ids{"a"});
  REQUIRE(ledger.Acquire("t1", 1).ok());
  CHECK(ledger.Acquire("t2", -1).value().empty());
  CHECK(GpuLedger().Acquire("t", -1).value().empty());
}

TEST_CASE("G7 n distinct free ones, and only those") {
  GpuLedger ledger(Ids{"a", "b", "c"});
  CHECK(ledger.Acquire("t1", 2).value() == Ids{"a", "b"});
  CHECK(ledger.Acquire("t2", 1).value() == Ids{"c"});
  CHECK(ledger.free_count() == 0);
}

TEST_CASE("G8 a shortage states both numbers and takes nothing") {
  GpuLedger ledger(Ids{"a", "b"});
  const absl::Status status = ledger.Acquire("t", 3).status();
  CHECK(status.code() == absl::StatusCode::kResourceExhausted);
  CHECK(status.message() == "3 accelerators were requested, 2 are free");
  CHECK(ledger.free_count() == 2);
}

TEST_CASE("G9 locking busy, unknown and free ids returns the newly locked ones") {
  GpuLedger ledger(Ids{"a", "b", "c"});
  REQUIRE(ledger.Lock("t1", {"a"}) == Ids{"a"});
  CHECK(ledger.Lock("t2", {"a", "x", "c"}) == Ids{"c"});
}

TEST_CASE("G10 locking nothing returns nothing") {
  GpuLedger ledger(Ids{"a"});
  CHECK(ledger.Lock("t", {}).empty());
}

TEST_CASE("G11 a release gives back the holder's own, once") {
  GpuLedger ledger(Ids{"a", "b"});
  REQUIRE(ledger.Acquire("t1", 1).ok());
  CHECK(ledger.Release("t2").empty());
  CHECK(ledger.Release("t1") == Ids{"a"});
  // Another task has it now; a second release of the old holder must not take it away.
  REQUIRE(ledger.Acquire("t2", 1).value() == Ids{"a"});
  CHECK(ledger.Release("t1").empty());
  CHECK(ledger.free_count() == 1);
}

TEST_CASE("a device that was locked before it was found belongs to its holder") {
  GpuLedger ledger;
  CHECK(ledger.Lock("t1", {"b"}).empty());
  ledger.SetDevices({MakeGpu("a"), MakeGpu("b")}, {});
  CHECK(ledger.Acquire("t2", -1).value() == Ids{"a"});
  CHECK(ledger.Release("t1") == Ids{"b"});
  CHECK(ledger.free_count() == 1);
}

TEST_CASE("a failed device is not given out, and a lost one stays with its holder") {
  GpuLedger ledger(Ids{"a", "b", "c"});
  REQUIRE(ledger.Lock("t1", {"a"}) == Ids{"a"});
  std::vector<common::v1::Gpu> now = {MakeGpu("b"), MakeGpu("c")};
  now[0].set_health(common::v1::HEALTH_STATUS_FAILURE);
  now[1].set_health(common::v1::HEALTH_STATUS_WARNING);
  ledger.SetDevices(now, {});
  CHECK(ledger.Dump().size() == 3);
  CHECK(ledger.Acquire("t2", -1).value() == Ids{"c"});
  // Gone for good with its holder.
  ledger.Release("t1");
  CHECK(ledger.Dump().size() == 2);
  // Mended.
  now[0].set_health(common::v1::HEALTH_STATUS_HEALTHY);
  ledger.SetDevices(now, {});
  CHECK(ledger.Acquire("t3", -1).value() == Ids{"b"});
}

TEST_CASE("linked devices are given out together") {
  GpuLedger ledger;
  v1::GpuLink link;
  link.set_first("b");
  link.set_second("d");
  link.set_kind(v1::GPU_LINK_KIND_DIRECT);
  ledger.SetDevices({MakeGpu("a"), MakeGpu("b"), MakeGpu("c"), MakeGpu("d")}, {link});
  CHECK(ledger.Acquire("t1", 2).value() == Ids{"b", "d"});
  CHECK(ledger.Describe({"d", "x", "a"}).size() == 2);
}

// Tasks take, hold and give back; the process is killed at any moment, comes back with an empty
// ledger, and locks again what the records of the live tasks say. Devices appear late, fail and
// vanish. At no moment does a device belong to two, and in the end all are free again.
class CrashModel {
 public:
  explicit CrashModel(std::uint32_t seed) : random_(seed) {
    for (int i = 0; i < 8; ++i) devices_.push_back(MakeGpu("gpu-" + std::to_string(i)));
    ledger_ = std::make_unique<GpuLedger>();
    ledger_->SetDevices(devices_, {});
  }

  void Step() {
    switch (random_() % 8) {
      case 0:
      case 1:
      case 2:
        return Take();
      case 3:
      case 4:
        return GiveBack();
      case 5:
        return Crash();
      case 6:
        return Fail();
      default:
        ledger_->SetDevices(devices_, {});
    }
  }

  void CheckInvariant() const {
    std::map<std::string, std::string> owners;
    for (const auto& [task, ids] : records_) {
      for (const std::string& id : ids) CHECK(owners.emplace(id, task).second);
    }
    for (const auto& [id, holder] : ledger_->Dump()) {
      const auto owner = owners.find(id);
      CHECK(holder == (owner == owners.end() ? "" : owner->second));
    }
  }

  void End() {
    while (!records_.empty()) GiveBack();
    for (common::v1::Gpu& gpu : devices_) gpu.clear_health();
    ledger_->SetDevices(devices_, {});
    CHECK(ledger_->free_count() == devices_.size());
  }

 private:
  void Take() {
    const std::string task = "task-" + std::to_string(next_task_++);
    const int count = static_cast<int>(random_() % 5);
    auto ids = ledger_->Acquire(task, count == 0 ? -1 : count);
    if (!ids.ok()) return;
    // Killed between the ledger and the record: nobody knows of it.
    if (random_() % 4 == 0) return Crash();
    records_[task] = *ids;
  }

  void GiveBack() {
    if (records_.empty()) return;
    auto it = std::next(records_.begin(), static_cast<long>(random_() % records_.size()));
    const std::string task = it->first;
    ledger_->Release(task);
    // Twice, as two paths of a task's end do.
    ledger_->Release(task);
    records_.erase(it);
  }

  void Crash() {
    ledger_ = std::make_unique<GpuLedger>();
    const bool is_slow = random_() % 2 == 0;
    if (!is_slow) ledger_->SetDevices(devices_, {});
    for (const auto& [task, ids] : records_) ledger_->Lock(task, ids);
    // The probe answers after the tasks were taken up.
    if (is_slow) ledger_->SetDevices(devices_, {});
  }

  void Fail() {
    common::v1::Gpu& gpu = devices_[random_() % devices_.size()];
    gpu.set_health(gpu.health() == common::v1::HEALTH_STATUS_FAILURE
                       ? common::v1::HEALTH_STATUS_HEALTHY
                       : common::v1::HEALTH_STATUS_FAILURE);
    std::vector<common::v1::Gpu> visible = devices_;
    if (random_() % 2 == 0) visible.erase(visible.begin() + static_cast<long>(random_() % 8));
    ledger_->SetDevices(visible, {});
  }

  std::mt19937 random_;
  std::vector<common::v1::Gpu> devices_;
  std::unique_ptr<GpuLedger> ledger_;
  std::map<std::string, Ids> records_;  // what is on the disk
  int next_task_ = 0;
};

TEST_CASE("no sequence of crashes gives a device twice or loses one") {
  const std::uint32_t seed = std::random_device()();
  INFO("seed " << seed);
  for (std::uint32_t round = 0; round < 50; ++round) {
    CrashModel model(seed + round);
    for (int step = 0; step < 100; ++step) {
      model.Step();
      model.CheckInvariant();
    }
    model.End();
  }
}

}  // namespace
}  // namespace dstack::shim
