#include "services/shim/devices/pci_tree.h"

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <utility>

#include <absl/strings/numbers.h>
#include <absl/strings/str_split.h>
#include <stdlib.h>

#include "libs/base/file.h"
#include "libs/base/status.h"

namespace dstack::shim {
namespace {

using common::v1::Gpu;

std::string SysDir(const std::string& root, const std::string& pci_address) {
  return root + "/sys/bus/pci/devices/" + pci_address;
}

std::string RealPath(const std::string& path) {
  const std::unique_ptr<char, decltype(&::free)> real(::realpath(path.c_str(), nullptr), ::free);
  return real ? std::string(real.get()) : "";
}

// Parts from the host bridge ("pci0000:3a") on.
std::vector<std::string> PartsBelowRoot(const std::string& path) {
  std::vector<std::string> parts = absl::StrSplit(path, '/', absl::SkipEmpty());
  const auto bridge = std::find_if(parts.begin(), parts.end(), [](const std::string& part) {
    return part.starts_with("pci") && part.find(':') != std::string::npos;
  });
  parts.erase(parts.begin(), bridge);
  return parts;
}

v1::GpuLinkKind LinkOf(const std::string& root, const Gpu& a, const Gpu& b) {
  const std::string first = RealPath(SysDir(root, a.pci_address()));
  const std::string second = RealPath(SysDir(root, b.pci_address()));
  if (first.empty() || second.empty()) return v1::GPU_LINK_KIND_UNSPECIFIED;
  const v1::GpuLinkKind kind = LinkByPath(first, second);
  const bool is_same_node =
      a.has_numa_node() && b.has_numa_node() && a.numa_node() == b.numa_node();
  return kind == v1::GPU_LINK_KIND_SYSTEM && is_same_node ? v1::GPU_LINK_KIND_NUMA_NODE : kind;
}

std::pair<std::string, std::string> KeyOf(const std::string& a, const std::string& b) {
  return std::minmax(a, b);
}

}  // namespace

std::optional<std::uint32_t> NumaNodeOf(const std::string& root, const std::string& pci_address) {
  if (pci_address.empty()) return std::nullopt;
  const auto text = base::ReadFile(SysDir(root, pci_address) + "/numa_node");
  std::int32_t node = -1;
  if (!text.ok() || !absl::SimpleAtoi(*text, &node) || node < 0) return std::nullopt;
  return static_cast<std::uint32_t>(node);
}

v1::GpuLinkKind LinkByPath(const std::string& first, const std::string& second) {
  const std::vector<std::string> a = PartsBelowRoot(first);
  const std::vector<std::string> b = PartsBelowRoot(second);
  const auto differ = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
  const auto common = differ.first - a.begin();
  if (common == 0) return v1::GPU_LINK_KIND_SYSTEM;
  // Below the bridge itself everything they share is a port or a switch.
  return common == 1 ? v1::GPU_LINK_KIND_HOST_BRIDGE : v1::GPU_LINK_KIND_PCI_SWITCH;
}

void AddPciFacts(const std::string& root, std::vector<Gpu>* gpus, std::vector<v1::GpuLink>* links) {
  for (Gpu& gpu : *gpus) {
    if (gpu.has_numa_node()) continue;
    if (const auto node = NumaNodeOf(root, gpu.pci_address())) gpu.set_numa_node(*node);
  }
  std::set<std::pair<std::string, std::string>> known;
  for (const v1::GpuLink& link : *links) known.insert(KeyOf(link.first(), link.second()));
  for (std::size_t i = 0; i < gpus->size(); ++i) {
    for (std::size_t j = i + 1; j < gpus->size(); ++j) {
      const Gpu& a = (*gpus)[i];
      const Gpu& b = (*gpus)[j];
      const bool is_placed = !a.pci_address().empty() && !b.pci_address().empty();
      if (!is_placed || a.vendor() != b.vendor()) continue;
      if (known.count(KeyOf(a.resource_id(), b.resource_id())) > 0) continue;
      const v1::GpuLinkKind kind = LinkOf(root, a, b);
      if (kind == v1::GPU_LINK_KIND_UNSPECIFIED) continue;
      v1::GpuLink& link = links->emplace_back();
      link.set_first(a.resource_id());
      link.set_second(b.resource_id());
      link.set_kind(kind);
    }
  }
}

}  // namespace dstack::shim
