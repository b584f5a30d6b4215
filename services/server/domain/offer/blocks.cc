#include "services/server/domain/offer/blocks.h"

#include <algorithm>

#include "fmt/format.h"
#include "libs/base/status.h"

namespace dstack::server {
namespace {

std::uint32_t AcceleratorsOf(const common::v1::Resources& resources) {
  const auto count = static_cast<std::uint32_t>(resources.gpus_size());
  if (count > 0 && resources.gpus(0).vendor() == common::v1::GPU_VENDOR_GOOGLE) return 1;
  return count;
}

bool HasFailed(const common::v1::Gpu& gpu) {
  return gpu.health() == common::v1::HEALTH_STATUS_FAILURE;
}

bool IsAlike(const common::v1::Gpu& a, const common::v1::Gpu& b) {
  return a.vendor() == b.vendor() && a.memory_bytes() == b.memory_bytes() && a.name() == b.name();
}

// Empty where all that have not failed are like `first`, which nearly every host is.
std::vector<GpuGroup> GroupsOf(const common::v1::Resources& resources,
                               const common::v1::Gpu& first) {
  const bool is_uniform =
      std::all_of(resources.gpus().begin(), resources.gpus().end(), [&](const auto& gpu) {
        return HasFailed(gpu) || IsAlike(gpu, first);
      });
  std::vector<GpuGroup> groups;
  if (is_uniform) return groups;
  for (const common::v1::Gpu& gpu : resources.gpus()) {
    if (HasFailed(gpu)) continue;
    const auto group = std::find_if(groups.begin(), groups.end(), [&](const GpuGroup& known) {
      return IsAlike(*known.gpu, gpu);
    });
    if (group == groups.end()) {
      groups.push_back({&gpu, 1});
    } else {
      ++group->count;
    }
  }
  return groups;
}

std::uint32_t UsableGpus(const common::v1::Resources& resources) {
  const auto failed = std::count_if(resources.gpus().begin(), resources.gpus().end(), HasFailed);
  return static_cast<std::uint32_t>(resources.gpus_size() - failed);
}

}  // namespace

std::uint32_t UsableBlocks(const common::v1::Resources& resources, std::uint32_t total_blocks) {
  const std::uint32_t per_block =
      static_cast<std::uint32_t>(resources.gpus_size()) / std::max<std::uint32_t>(1, total_blocks);
  // An undivided host gives what it has left.
  if (total_blocks <= 1 || per_block == 0) return total_blocks;
  return std::min(total_blocks, UsableGpus(resources) / per_block);
}

absl::StatusOr<std::uint32_t> TotalBlocks(std::uint32_t wanted,
                                          const common::v1::Resources& resources) {
  const std::uint32_t cpus = std::max<std::uint32_t>(1, resources.cpus());
  const std::uint32_t gpus = AcceleratorsOf(resources);
  if (wanted == 0) return gpus == 0 ? cpus : std::min(cpus, gpus);
  if (cpus % wanted != 0) {
    return base::Invalid(
        fmt::format("blocks: {} does not divide the {} CPUs of the host", wanted, cpus));
  }
  if (gpus % wanted != 0) {
    return base::Invalid(
        fmt::format("blocks: {} does not divide the {} GPUs of the host", wanted, gpus));
  }
  return wanted;
}

Share ShareOf(const common::v1::Resources& whole,
              std::uint32_t blocks,
              std::uint32_t total_blocks) {
  const std::uint32_t total = std::max<std::uint32_t>(1, total_blocks);
  Share share;
  share.cpus = whole.cpus() / total * blocks;
  share.cpu_arch = whole.cpu_arch();
  share.memory_bytes = whole.memory_bytes() / total * blocks;
  share.disk_bytes = whole.disk_bytes();
  share.gpu_count =
      std::min(static_cast<std::uint32_t>(whole.gpus_size()) / total * blocks, UsableGpus(whole));
  if (share.gpu_count > 0) {
    share.gpu = &*std::find_if_not(whole.gpus().begin(), whole.gpus().end(), HasFailed);
    share.gpu_groups = GroupsOf(whole, *share.gpu);
  }
  share.is_whole = blocks >= total;
  return share;
}

common::v1::Resources ShareResources(const common::v1::Resources& whole,
                                     std::uint32_t blocks,
                                     std::uint32_t total_blocks) {
  common::v1::Resources resources = whole;
  auto* usable = resources.mutable_gpus();
  usable->erase(std::remove_if(usable->begin(), usable->end(), HasFailed), usable->end());
  if (total_blocks <= 1) return resources;
  const Share share = ShareOf(whole, blocks, total_blocks);
  resources.set_cpus(share.cpus);
  resources.set_memory_bytes(share.memory_bytes);
  const int gpus = static_cast<int>(share.gpu_count);
  if (gpus < resources.gpus_size()) {
    resources.mutable_gpus()->DeleteSubrange(gpus, resources.gpus_size() - gpus);
  }
  return resources;
}

}  // namespace dstack::server
