#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "libs/base/clock.h"

namespace dstack::shim {

// Which images a host keeps. Only images that the shim itself has pulled are ever removed.
struct ImagePolicy {
  // An image that no task has used for so long goes. Zero: age alone is no reason.
  std::chrono::seconds max_unused = std::chrono::hours(24 * 14);
  // While less than this share of the disk is free, the least recently used ones go. 0: never.
  int min_free_percent = 10;
  // While the shim's images take more than this, the least recently used ones go. 0: no limit.
  std::uint64_t max_bytes = 0;
};

// An image that the shim has pulled.
struct PulledImage {
  std::string reference;  // "busybox:1", or the id when the tag has moved on
  std::string id;         // "sha256:..."
  std::uint64_t size_bytes = 0;
  base::WallTime last_used;
};

struct DiskSpace {
  std::uint64_t total_bytes = 0;
  std::uint64_t free_bytes = 0;
};

// Those to remove, in this order. `in_use` holds references and ids that a container or a waiting
// task needs: they stay, whatever the disk says. Pure.
std::vector<PulledImage> ImagesToRemove(const ImagePolicy& policy,
                                        std::vector<PulledImage> images,
                                        const std::set<std::string>& in_use,
                                        const DiskSpace& disk,
                                        base::WallTime now);

}  // namespace dstack::shim
