#pragma once

#include <optional>
#include <string>
#include <vector>

#include "dstack/common/v1/resources.pb.h"
#include "dstack/shim/v1/host.pb.h"

namespace dstack::shim {

// NUMA node of a PCI device, from sysfs below `root`; absent where the kernel does not say.
std::optional<std::uint32_t> NumaNodeOf(const std::string& root, const std::string& pci_address);

// How near two PCI devices are, by their real paths in sysfs, such as
// "/sys/devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0/0000:3c:04.0/0000:3d:00.0". Pure.
v1::GpuLinkKind LinkByPath(const std::string& first, const std::string& second);

// Completes what the makers' tools did not tell: NUMA nodes, and a link for each pair of devices of
// one maker that has none yet and whose places are known.
void AddPciFacts(const std::string& root,
                 std::vector<common::v1::Gpu>* gpus,
                 std::vector<v1::GpuLink>* links);

}  // namespace dstack::shim
