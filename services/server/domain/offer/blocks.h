#pragma once

#include <cstdint>
#include <vector>

#include "dstack/common/v1/resources.pb.h"

#include "absl/status/statusor.h"

namespace dstack::server {

// Division of hosts into blocks: equal shares of processors, memory and accelerators; each share
// may use the whole disk. Pure.

// Number of blocks of a host. `wanted` 0 means auto: one per accelerator, but not more than
// processors; one per processor where there is no accelerator. A TPU counts as one accelerator
// whatever its number of chips. INVALID_ARGUMENT where `wanted` does not divide both numbers.
absl::StatusOr<std::uint32_t> TotalBlocks(std::uint32_t wanted,
                                          const common::v1::Resources& resources);

// Blocks that can be given to jobs, those in use included: fewer than all of them when accelerators
// have failed.
std::uint32_t UsableBlocks(const common::v1::Resources& resources, std::uint32_t total_blocks);

// Accelerators that are alike.
struct GpuGroup {
  const common::v1::Gpu* gpu = nullptr;  // any of them
  std::uint32_t count = 0;
};

// What a job gets with some blocks of a host; failed accelerators are no part of it. Refers to the
// host's resources.
struct Share {
  std::uint32_t cpus = 0;
  common::v1::CpuArch cpu_arch = common::v1::CPU_ARCH_UNSPECIFIED;
  std::uint64_t memory_bytes = 0;
  std::uint64_t disk_bytes = 0;  // 0 unknown
  std::uint32_t gpu_count = 0;
  const common::v1::Gpu* gpu = nullptr;  // the first of them; nullptr: none
  // Those of the host by vendor, model and memory; empty where all are alike. A part of a divided
  // host may get any of them.
  std::vector<GpuGroup> gpu_groups;
  bool is_whole = false;
};
Share ShareOf(const common::v1::Resources& whole, std::uint32_t blocks, std::uint32_t total_blocks);

// The same as a message, to be stored and shown.
common::v1::Resources ShareResources(const common::v1::Resources& whole,
                                     std::uint32_t blocks,
                                     std::uint32_t total_blocks);

}  // namespace dstack::server
