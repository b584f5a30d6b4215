#include "services/shim/domain/image_policy.h"

#include <algorithm>
#include <utility>

namespace dstack::shim {
namespace {

std::uint64_t MissingSpace(const ImagePolicy& policy, const DiskSpace& disk) {
  const std::uint64_t wanted =
      disk.total_bytes / 100 * static_cast<std::uint64_t>(std::max(policy.min_free_percent, 0));
  return wanted > disk.free_bytes ? wanted - disk.free_bytes : 0;
}

std::uint64_t Excess(const ImagePolicy& policy, const std::vector<PulledImage>& images) {
  if (policy.max_bytes == 0) return 0;
  std::uint64_t sum = 0;
  for (const PulledImage& image : images) sum += image.size_bytes;
  return sum > policy.max_bytes ? sum - policy.max_bytes : 0;
}

}  // namespace

std::vector<PulledImage> ImagesToRemove(const ImagePolicy& policy,
                                        std::vector<PulledImage> images,
                                        const std::set<std::string>& in_use,
                                        const DiskSpace& disk,
                                        base::WallTime now) {
  // Sizes count shared layers for each image, so that this may ask for too little; the next round
  // sees what became free.
  std::uint64_t wanted = std::max(MissingSpace(policy, disk), Excess(policy, images));
  std::sort(images.begin(), images.end(), [](const PulledImage& a, const PulledImage& b) {
    return std::pair(a.last_used, a.reference) < std::pair(b.last_used, b.reference);
  });
  std::vector<PulledImage> chosen;
  for (PulledImage& image : images) {
    if (in_use.contains(image.reference) || in_use.contains(image.id)) continue;
    const bool is_old = policy.max_unused.count() > 0 && now - image.last_used > policy.max_unused;
    if (!is_old && wanted == 0) continue;
    wanted -= std::min(wanted, image.size_bytes);
    chosen.push_back(std::move(image));
  }
  return chosen;
}

}  // namespace dstack::shim
