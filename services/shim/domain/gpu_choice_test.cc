#include "services/shim/domain/gpu_choice.h"

#include <string>

#include <catch2/catch.hpp>

namespace dstack::shim {
namespace {

using Picks = std::vector<std::size_t>;

std::vector<common::v1::Gpu> MakeGpus(std::size_t count) {
  std::vector<common::v1::Gpu> gpus(count);
  for (std::size_t i = 0; i < count; ++i) gpus[i].set_resource_id(std::to_string(i));
  return gpus;
}

v1::GpuLink Link(int first, int second, v1::GpuLinkKind kind, std::uint32_t lanes = 0) {
  v1::GpuLink link;
  link.set_first(std::to_string(first));
  link.set_second(std::to_string(second));
  link.set_kind(kind);
  link.set_lanes(lanes);
  return link;
}

TEST_CASE("without links the first free devices are taken") {
  CHECK(PickDevices(MakeGpus(4), {}, 2) == Picks{0, 1});
  CHECK(PickDevices(MakeGpus(4), {}, 4) == Picks{0, 1, 2, 3});
  CHECK(PickDevices(MakeGpus(2), {}, 0).empty());
  CHECK(PickDevices({}, {}, 1).empty());
}

TEST_CASE("linked devices are taken together") {
  // Bridges join 0 and 2, 1 and 3.
  const std::vector<v1::GpuLink> bridges = {Link(0, 2, v1::GPU_LINK_KIND_DIRECT, 4),
                                            Link(1, 3, v1::GPU_LINK_KIND_DIRECT, 4),
                                            Link(0, 1, v1::GPU_LINK_KIND_PCI_SWITCH),
                                            Link(2, 3, v1::GPU_LINK_KIND_PCI_SWITCH)};
  CHECK(PickDevices(MakeGpus(4), bridges, 2) == Picks{0, 2});
  // The better bridge wins.
  std::vector<v1::GpuLink> better = bridges;
  better[1].set_lanes(12);
  CHECK(PickDevices(MakeGpus(4), better, 2) == Picks{1, 3});
}

TEST_CASE("one device is taken from where it breaks nothing") {
  const std::vector<v1::GpuLink> links = {Link(0, 1, v1::GPU_LINK_KIND_DIRECT, 4)};
  CHECK(PickDevices(MakeGpus(3), links, 1) == Picks{2});
  // All are alike in a host with a switch for all.
  std::vector<v1::GpuLink> all;
  for (int i = 0; i < 4; ++i) {
    for (int j = i + 1; j < 4; ++j) all.push_back(Link(i, j, v1::GPU_LINK_KIND_DIRECT));
  }
  CHECK(PickDevices(MakeGpus(4), all, 1) == Picks{0});
  CHECK(PickDevices(MakeGpus(4), all, 2) == Picks{0, 1});
}

TEST_CASE("a processor's own devices are preferred over a mix of both processors") {
  std::vector<v1::GpuLink> links;
  for (int i = 0; i < 8; ++i) {
    for (int j = i + 1; j < 8; ++j) {
      links.push_back(
          Link(i, j, i / 4 == j / 4 ? v1::GPU_LINK_KIND_NUMA_NODE : v1::GPU_LINK_KIND_SYSTEM));
    }
  }
  std::vector<common::v1::Gpu> free = MakeGpus(8);
  free.erase(free.begin());  // 0 is taken: four are left on the other processor only
  CHECK(PickDevices(free, links, 4) == Picks{3, 4, 5, 6});
  // Three fit without breaking the four.
  CHECK(PickDevices(free, links, 3) == Picks{0, 1, 2});
}

TEST_CASE("makers and models are mixed only where there is no other way") {
  std::vector<common::v1::Gpu> gpus = MakeGpus(4);
  for (const std::size_t i : {1U, 3U}) gpus[i].set_vendor(common::v1::GPU_VENDOR_AMD);
  const std::vector<v1::GpuLink> links = {Link(0, 1, v1::GPU_LINK_KIND_PCI_SWITCH)};
  CHECK(PickDevices(gpus, links, 2) == Picks{0, 2});
  gpus.pop_back();
  CHECK(PickDevices(gpus, links, 3) == Picks{0, 1, 2});
}

}  // namespace
}  // namespace dstack::shim
