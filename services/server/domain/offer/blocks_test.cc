#include "services/server/domain/offer/blocks.h"

#include <catch2/catch.hpp>

#include "services/server/domain/offer/match.h"
#include "services/server/domain/offer/test_hosts.h"

namespace dstack::server {
namespace {

common::v1::Resources Machine(std::uint32_t cpus,
                              int gpus,
                              common::v1::GpuVendor vendor = common::v1::GPU_VENDOR_NVIDIA) {
  common::v1::Resources resources;
  resources.set_cpus(cpus);
  resources.set_memory_bytes(64 * kGiB);
  resources.set_disk_bytes(500 * kGiB);
  for (int i = 0; i < gpus; ++i) {
    auto* gpu = resources.add_gpus();
    gpu->set_vendor(vendor);
    gpu->set_name("A100");
    gpu->set_memory_bytes(80 * kGiB);
  }
  return resources;
}

TEST_CASE("into how many blocks a host is divided") {
  struct Row {
    const char* name;
    std::uint32_t wanted;
    common::v1::Resources machine;
    std::uint32_t blocks;  // 0: refused
  };
  const std::vector<Row> rows = {
      {"one", 1, Machine(7, 3), 1},
      {"divides both", 4, Machine(96, 8), 4},
      {"divides the GPUs, not the CPUs", 8, Machine(12, 8), 0},
      {"divides the CPUs, not the GPUs", 3, Machine(96, 8), 0},
      {"no GPU", 3, Machine(6, 0), 3},
      {"auto, a block for each GPU", 0, Machine(96, 8), 8},
      {"auto, fewer CPUs than GPUs", 0, Machine(4, 8), 4},
      {"auto, no GPU", 0, Machine(6, 0), 6},
      {"auto, a TPU is one accelerator", 0, Machine(24, 8, common::v1::GPU_VENDOR_GOOGLE), 1},
      {"auto, nothing known", 0, Machine(0, 0), 1},
  };
  for (const Row& row : rows) {
    INFO(row.name);
    const auto blocks = TotalBlocks(row.wanted, row.machine);
    CHECK(blocks.value_or(0) == row.blocks);
  }
}

TEST_CASE("a share has its part of everything but the disk, and the architecture of its host") {
  common::v1::Resources machine = Machine(10, 4);
  machine.set_cpu_arch(common::v1::CPU_ARCH_ARM);
  const Share share = ShareOf(machine, 3, 4);
  CHECK(share.cpus == 6);  // 10 / 4 rounded down, three times
  CHECK(share.memory_bytes == 48 * kGiB);
  CHECK(share.gpu_count == 3);
  CHECK(share.disk_bytes == 500 * kGiB);
  CHECK(share.cpu_arch == common::v1::CPU_ARCH_ARM);
  const common::v1::Resources message = ShareResources(machine, 3, 4);
  CHECK(message.cpus() == 6);
  CHECK(message.gpus_size() == 3);
  CHECK(message.disk_bytes() == 500 * kGiB);
}

TEST_CASE("a run takes the fewest blocks that suffice") {
  Instance host = Host("gpu-3", 96, 1024, 8);
  *host.resources = Machine(96, 8);
  host.resources->set_memory_bytes(1024 * kGiB);
  const auto wants_gpus = [](std::int64_t min, std::int64_t max) {
    api::v1::RunSpec spec = Wants(2, 8);
    auto* count = spec.mutable_configuration()->mutable_resources()->mutable_gpu()->mutable_count();
    count->set_min(min);
    count->set_max(max);
    return spec;
  };
  struct Row {
    const char* name;
    api::v1::RunSpec spec;
    std::uint32_t busy;
    std::uint32_t blocks;
    const char* why;
  };
  const std::vector<Row> rows = {
      {"one GPU", wants_gpus(1, 1), 0, 1, ""},
      {"two GPUs", wants_gpus(2, 2), 0, 2, ""},
      {"from two to four", wants_gpus(2, 4), 6, 2, ""},
      {"two of which one is free", wants_gpus(2, 2), 7, 2, "needs 2 GPUs, 1 free"},
      {"more CPUs than GPUs need", Wants(40, 8), 5, 4, "needs 4 of 8 blocks, 3 free"},
      {"more than there are", wants_gpus(9, 9), 0, 0, "needs 9 GPUs, has 8"},
      {"no GPU, though every share has one", wants_gpus(0, 0), 0, 0, "wants no GPU, has 8"},
  };
  for (const Row& row : rows) {
    INFO(row.name);
    host.busy_blocks = row.busy;
    std::string why;
    CHECK(Judge(row.spec, std::nullopt, host, &why).blocks == row.blocks);
    CHECK(why == row.why);
  }
  api::v1::RunSpec cluster = wants_gpus(1, 1);
  cluster.mutable_configuration()->mutable_task()->set_nodes(2);
  host.busy_blocks = 0;
  // Exactly one GPU: no whole host has that.
  CHECK(Judge(cluster, std::nullopt, host).standing == Candidate::Standing::kUnfit);
  cluster.mutable_configuration()->mutable_resources()->mutable_gpu()->mutable_count()->clear_max();
  CHECK(Judge(cluster, std::nullopt, host).blocks == 8);
  host.busy_blocks = 1;
  CHECK(Judge(cluster, std::nullopt, host).standing == Candidate::Standing::kBusy);
}

TEST_CASE("failed accelerators are given to nobody") {
  common::v1::Resources machine = Machine(96, 8);
  machine.mutable_gpus(0)->set_health(common::v1::HEALTH_STATUS_FAILURE);
  machine.mutable_gpus(1)->set_health(common::v1::HEALTH_STATUS_WARNING);
  // A host that is divided loses the blocks of the failed ones; its division stays.
  CHECK(TotalBlocks(0, machine).value() == 8);
  CHECK(UsableBlocks(machine, 8) == 7);
  CHECK(UsableBlocks(machine, 4) == 3);
  CHECK(UsableBlocks(Machine(96, 8), 4) == 4);
  CHECK(UsableBlocks(Machine(6, 0), 3) == 3);
  // An undivided one gives what it has left.
  CHECK(UsableBlocks(machine, 1) == 1);
  CHECK(ShareOf(machine, 1, 1).gpu_count == 7);
  CHECK(ShareOf(machine, 1, 1).gpu == &machine.gpus(1));
  CHECK(ShareResources(machine, 1, 1).gpus_size() == 7);
  CHECK(ShareResources(machine, 2, 8).gpus_size() == 2);
  for (auto& gpu : *machine.mutable_gpus()) gpu.set_health(common::v1::HEALTH_STATUS_FAILURE);
  CHECK(ShareOf(machine, 1, 1).gpu_count == 0);
  CHECK(ShareOf(machine, 1, 1).gpu == nullptr);
}

}  // namespace
}  // namespace dstack::server
