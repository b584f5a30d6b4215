#include "services/shim/domain/gpu_choice.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>

namespace dstack::shim {
namespace {

using common::v1::Gpu;

// Worth of one pair inside a task. One kind outweighs many pairs of the next one.
std::int64_t WorthOf(const v1::GpuLink& link) {
  constexpr std::uint32_t kMaxLanes = 18;
  switch (link.kind()) {
    case v1::GPU_LINK_KIND_DIRECT:
      return 10'000 + 100 * static_cast<std::int64_t>(std::min(link.lanes(), kMaxLanes));
    case v1::GPU_LINK_KIND_PCI_SWITCH:
      return 1'000;
    case v1::GPU_LINK_KIND_HOST_BRIDGE:
      return 400;
    case v1::GPU_LINK_KIND_NUMA_NODE:
      return 100;
    default:
      return 0;
  }
}

// Two kinds of device in one task are the last resort.
constexpr std::int64_t kMixed = -10'000'000;

class Choice {
 public:
  Choice(const std::vector<Gpu>& free, const std::vector<v1::GpuLink>& links)
      : size_(free.size()), worth_(size_ * size_, 0) {
    std::map<std::string, std::size_t> places;
    for (std::size_t i = 0; i < size_; ++i) places[free[i].resource_id()] = i;
    for (const v1::GpuLink& link : links) {
      const auto a = places.find(link.first());
      const auto b = places.find(link.second());
      if (a == places.end() || b == places.end()) continue;
      Worth(a->second, b->second) = Worth(b->second, a->second) = WorthOf(link);
    }
    for (std::size_t i = 0; i < size_; ++i) {
      for (std::size_t j = 0; j < size_; ++j) {
        const bool is_same =
            free[i].vendor() == free[j].vendor() && free[i].name() == free[j].name();
        if (!is_same) Worth(i, j) = kMixed;
      }
    }
  }

  // The best group that begins with `seed` and grows by the best neighbour each time.
  std::vector<std::size_t> Grow(std::size_t seed, std::size_t count) const {
    std::vector<std::size_t> group = {seed};
    while (group.size() < count) {
      std::optional<std::size_t> best;
      for (std::size_t i = 0; i < size_; ++i) {
        if (Contains(group, i)) continue;
        if (!best || Sum(group, i) > Sum(group, *best)) best = i;
      }
      group.push_back(*best);
    }
    std::sort(group.begin(), group.end());
    return group;
  }

  std::int64_t Inside(const std::vector<std::size_t>& group) const {
    std::int64_t sum = 0;
    for (const std::size_t member : group) sum += Sum(group, member);
    return sum;
  }

  // What the others lose in good neighbours.
  std::int64_t Loss(const std::vector<std::size_t>& group) const {
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < size_; ++i) {
      if (Contains(group, i)) continue;
      for (const std::size_t member : group) sum += std::max<std::int64_t>(0, Worth(member, i));
    }
    return sum;
  }

 private:
  static bool Contains(const std::vector<std::size_t>& group, std::size_t item) {
    return std::find(group.begin(), group.end(), item) != group.end();
  }

  std::int64_t Sum(const std::vector<std::size_t>& group, std::size_t item) const {
    std::int64_t sum = 0;
    for (const std::size_t member : group) sum += member == item ? 0 : Worth(member, item);
    return sum;
  }

  std::int64_t& Worth(std::size_t a, std::size_t b) { return worth_[a * size_ + b]; }
  std::int64_t Worth(std::size_t a, std::size_t b) const { return worth_[a * size_ + b]; }

  const std::size_t size_;
  std::vector<std::int64_t> worth_;
};

}  // namespace

std::vector<std::size_t> PickDevices(const std::vector<Gpu>& free,
                                     const std::vector<v1::GpuLink>& links,
                                     std::size_t count) {
  if (count == 0 || free.empty()) return {};
  count = std::min(count, free.size());
  const Choice choice(free, links);
  std::vector<std::size_t> best;
  std::pair<std::int64_t, std::int64_t> best_rank;
  for (std::size_t seed = 0; seed < free.size(); ++seed) {
    std::vector<std::size_t> group = choice.Grow(seed, count);
    const std::pair rank{choice.Inside(group), -choice.Loss(group)};
    if (!best.empty() && rank <= best_rank) continue;
    best = std::move(group);
    best_rank = rank;
  }
  return best;
}

}  // namespace dstack::shim
