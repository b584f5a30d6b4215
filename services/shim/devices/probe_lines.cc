#include "services/shim/devices/probe_lines.h"

#include <map>
#include <utility>

#include <nlohmann/json.hpp>

#include "libs/base/status.h"
#include "services/shim/devices/gpu_text.h"
#include "services/shim/devices/nvidia_smi.h"

namespace dstack::shim {
namespace {

using common::v1::Gpu;
using nlohmann::json;

std::string TextOf(const json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? it->get<std::string>() : "";
}

std::uint64_t NumberOf(const json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_number_unsigned() ? it->get<std::uint64_t>() : 0;
}

double DecimalOf(const json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_number() ? it->get<double>() : 0;
}

// The objects of a list; empty when there is none.
std::vector<json> ObjectsOf(const json& object, const char* key) {
  std::vector<json> objects;
  const auto it = object.find(key);
  if (it == object.end() || !it->is_array()) return objects;
  for (const json& item : *it) {
    if (item.is_object()) objects.push_back(item);
  }
  return objects;
}

Gpu SliceOf(const json& item, const Gpu& card) {
  Gpu gpu = card;
  gpu.set_resource_id(TextOf(item, "uuid"));
  gpu.set_uuid(gpu.resource_id());
  gpu.set_parent_uuid(card.uuid());
  // The driver names it after its card: "NVIDIA A100-SXM4-40GB MIG 1g.5gb".
  const std::string name = ShortNvidiaName(TextOf(item, "name"));
  if (!name.empty()) gpu.set_name(name);
  gpu.set_memory_bytes(NumberOf(item, "memory"));
  return gpu;
}

v1::GpuLinkKind KindOf(const std::string& word) {
  static const std::map<std::string, v1::GpuLinkKind> kKinds = {
      {"direct", v1::GPU_LINK_KIND_DIRECT},
      {"pci_switch", v1::GPU_LINK_KIND_PCI_SWITCH},
      {"host_bridge", v1::GPU_LINK_KIND_HOST_BRIDGE},
      {"numa_node", v1::GPU_LINK_KIND_NUMA_NODE},
      {"system", v1::GPU_LINK_KIND_SYSTEM},
  };
  const auto it = kKinds.find(word);
  return it == kKinds.end() ? v1::GPU_LINK_KIND_UNSPECIFIED : it->second;
}

ProbeFacts FactsOf(const json& body) {
  ProbeFacts facts;
  const std::string driver = KnownText(TextOf(body, "driver"));
  for (const json& item : ObjectsOf(body, "gpus")) {
    Gpu card;
    card.set_vendor(common::v1::GPU_VENDOR_NVIDIA);
    card.set_resource_id(TextOf(item, "uuid"));
    card.set_uuid(card.resource_id());
    card.set_name(ShortNvidiaName(TextOf(item, "name")));
    card.set_memory_bytes(NumberOf(item, "memory"));
    card.set_driver_version(driver);
    card.set_pci_address(PciAddress(TextOf(item, "pci")));
    if (!item.contains("slices")) {
      facts.devices.gpus.push_back(std::move(card));
      continue;
    }
    for (const json& slice : ObjectsOf(item, "slices")) {
      facts.devices.gpus.push_back(SliceOf(slice, card));
    }
  }
  for (const json& item : ObjectsOf(body, "links")) {
    v1::GpuLink& link = facts.devices.links.emplace_back();
    link.set_first(TextOf(item, "first"));
    link.set_second(TextOf(item, "second"));
    link.set_kind(KindOf(TextOf(item, "kind")));
    link.set_lanes(static_cast<std::uint32_t>(NumberOf(item, "lanes")));
  }
  return facts;
}

ProbeHealth HealthOf(const json& body) {
  ProbeHealth health;
  for (const json& item : ObjectsOf(body, "incidents")) {
    health.incidents.push_back({.uuid = TextOf(item, "uuid"),
                                .system = TextOf(item, "system"),
                                .health = TextOf(item, "health") == "failure"
                                              ? common::v1::HEALTH_STATUS_FAILURE
                                              : common::v1::HEALTH_STATUS_WARNING,
                                .message = TextOf(item, "message")});
  }
  return health;
}

ProbeSample SampleOf(const json& body) {
  ProbeSample sample;
  for (const json& item : ObjectsOf(body, "gpus")) {
    v1::GpuMetrics& gpu = sample.gpus.emplace_back();
    gpu.set_resource_id(TextOf(item, "uuid"));
    gpu.set_usage_ratio(DecimalOf(item, "usage") / 100);
    gpu.set_memory_used_bytes(NumberOf(item, "memory_used"));
    gpu.set_temperature_celsius(static_cast<std::uint32_t>(NumberOf(item, "celsius")));
    gpu.set_power_watts(DecimalOf(item, "watts"));
  }
  return sample;
}

}  // namespace

absl::StatusOr<ProbeLine> ParseProbeLine(std::string_view line) {
  const json body = json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!body.is_object()) return base::Invalid("not a JSON object");
  const std::string type = TextOf(body, "type");
  if (type == "facts") return ProbeLine(FactsOf(body));
  if (type == "event") {
    return ProbeLine(ProbeEvent{.uuid = TextOf(body, "uuid"),
                                .source = TextOf(body, "source"),
                                .code = NumberOf(body, "code")});
  }
  if (type == "lost") return ProbeLine(ProbeLoss{TextOf(body, "uuid")});
  if (type == "health") return ProbeLine(HealthOf(body));
  if (type == "sample") return ProbeLine(SampleOf(body));
  if (type == "no_dcgm") return ProbeLine(ProbeNote{"no DCGM: " + TextOf(body, "message")});
  return base::Invalid("type: unknown word \"" + type.substr(0, 32) + "\"");
}

}  // namespace dstack::shim
