#include "libs/config/accelerators.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <string>

#include "libs/config/text.h"

namespace dstack::config {

namespace {

constexpr double kBytesPerGb = 1024.0 * 1024.0 * 1024.0;
constexpr double kTolerance = 0.07;

struct Model {
  std::string_view name;
  std::vector<int> memory_gb;
};

// NVIDIA models by compute capability.
const std::vector<std::pair<std::pair<int, int>, std::vector<Model>>>& NvidiaModels() {
  static const auto* models = new std::vector<std::pair<std::pair<int, int>, std::vector<Model>>>{
      {{6, 0}, {{"P100", {16}}}},
      {{7, 0}, {{"V100", {16, 32}}}},
      {{7, 5},
       {{"T4", {16}},
        {"RTX2060", {6, 12}},
        {"RTX2060SUPER", {8}},
        {"RTX2070", {8}},
        {"RTX2070SUPER", {8}},
        {"RTX2080", {8}},
        {"RTX2080SUPER", {8}},
        {"RTX2080Ti", {11}},
        {"RTX6000", {24}}}},
      {{8, 0}, {{"A100", {40, 80}}}},
      {{8, 6},
       {{"A10", {24}},
        {"A10G", {24}},
        {"A16", {16}},
        {"A40", {48}},
        {"A4000", {16}},
        {"A4500", {20}},
        {"A5000", {24}},
        {"A6000", {48}},
        {"RTX3050", {6, 8}},
        {"RTX3060", {8, 12}},
        {"RTX3060Ti", {8}},
        {"RTX3070", {8}},
        {"RTX3070Ti", {8}},
        {"RTX3080", {10}},
        {"RTX3080Ti", {12}},
        {"RTX3090", {24}},
        {"RTX3090Ti", {24}}}},
      {{8, 9},
       {{"L4", {24}},
        {"L40", {48}},
        {"L40S", {48}},
        {"RTX4060", {8}},
        {"RTX4060Ti", {8, 16}},
        {"RTX4070", {12}},
        {"RTX4070SUPER", {12}},
        {"RTX4070Ti", {12}},
        {"RTX4070TiSUPER", {16}},
        {"RTX4080", {16}},
        {"RTX4080SUPER", {16}},
        {"RTX4090", {24}},
        {"RTX2000Ada", {16}},
        {"RTX4000Ada", {20}},
        {"RTX6000Ada", {48}}}},
      {{9, 0},
       {{"H100", {80}}, {"H100NVL", {94}}, {"H200", {141}}, {"H200NVL", {141}}, {"GH200", {96}}}},
      {{10, 0}, {{"B200", {180}}, {"GB200", {186}}, {"B300", {270}}}},
      {{12, 0},
       {{"RTX5060", {8}},
        {"RTX5060Ti", {8, 16}},
        {"RTX5070", {12}},
        {"RTX5070Ti", {16}},
        {"RTX5080", {16}},
        {"RTX5090", {32}},
        {"RTXPRO4500", {32}},
        {"RTXPRO6000", {96}}}},
  };
  return *models;
}

const std::vector<std::pair<v1::GpuVendor, std::vector<Model>>>& OtherModels() {
  static const auto* models = new std::vector<std::pair<v1::GpuVendor, std::vector<Model>>>{
      {v1::GPU_VENDOR_AMD,
       {{"MI100", {32}},
        {"MI210", {64}},
        {"MI250", {128}},
        {"MI250X", {128}},
        {"MI300A", {128}},
        {"MI300X", {192}},
        {"MI308X", {128}},
        {"MI325X", {288}},
        {"MI350X", {288}},
        {"MI355X", {288}}}},
      {v1::GPU_VENDOR_INTEL, {{"Gaudi", {32}}, {"Gaudi2", {96}}, {"Gaudi3", {128}}}},
      {v1::GPU_VENDOR_TENSTORRENT,
       {{"n150", {12}},
        {"n300", {24}},
        {"tt-galaxy-wh", {12}},
        {"p100a", {28}},
        {"p150", {32}},
        {"p300", {32, 64}},
        {"tt-galaxy-bh", {32}}}},
  };
  return *models;
}

constexpr std::array kTpuVersions = {"v2", "v3", "v4", "v5p", "v5litepod", "v6e"};

const std::map<std::string, Accelerator, std::less<>>& Catalogue() {
  static const auto* catalogue = [] {
    auto* all = new std::map<std::string, Accelerator, std::less<>>;
    for (const auto& [capability, models] : NvidiaModels()) {
      for (const Model& model : models) {
        (*all)[AsciiLower(model.name)] = {.vendor = v1::GPU_VENDOR_NVIDIA,
                                          .name = model.name,
                                          .memory_gb = model.memory_gb,
                                          .compute_capability = capability};
      }
    }
    for (const auto& [vendor, models] : OtherModels()) {
      for (const Model& model : models) {
        (*all)[AsciiLower(model.name)] = {.vendor = vendor,
                                          .name = model.name,
                                          .memory_gb = model.memory_gb,
                                          .compute_capability = {}};
      }
    }
    return all;
  }();
  return *catalogue;
}

bool IsTpuName(std::string_view name) {
  const std::string lower = AsciiLower(name);
  const std::string version = lower.substr(0, lower.find('-'));
  const bool has_cores = lower.size() > version.size() + 1;
  return has_cores && IsAllDigits(std::string_view(lower).substr(version.size() + 1)) &&
         std::any_of(kTpuVersions.begin(), kTpuVersions.end(), [&](const char* known) {
           return version == known;
         });
}

}  // namespace

const Accelerator* FindAccelerator(std::string_view name) {
  const auto found = Catalogue().find(AsciiLower(name));
  return found == Catalogue().end() ? nullptr : &found->second;
}

v1::GpuVendor VendorOfModel(std::string_view name) {
  if (const Accelerator* known = FindAccelerator(name)) return known->vendor;
  return IsTpuName(name) ? v1::GPU_VENDOR_GOOGLE : v1::GPU_VENDOR_UNSPECIFIED;
}

std::vector<v1::GpuVendor> VendorsOf(const v1::GpuSpec& gpu) {
  std::vector<v1::GpuVendor> vendors;
  const auto add = [&](v1::GpuVendor vendor) {
    const bool is_new = std::find(vendors.begin(), vendors.end(), vendor) == vendors.end();
    if (vendor != v1::GPU_VENDOR_UNSPECIFIED && is_new) vendors.push_back(vendor);
  };
  add(gpu.vendor());
  for (const std::string& name : gpu.name()) add(VendorOfModel(name));
  return vendors;
}

uint64_t NominalGpuMemoryBytes(std::string_view name, uint64_t reported_bytes) {
  const double reported_gb = static_cast<double>(reported_bytes) / kBytesPerGb;
  double nominal_gb = std::round(reported_gb);
  if (const Accelerator* known = FindAccelerator(name)) {
    for (const int size : known->memory_gb) {
      if (std::abs(reported_gb - size) <= size * kTolerance) nominal_gb = size;
    }
  }
  return static_cast<uint64_t>(nominal_gb * kBytesPerGb);
}

}  // namespace dstack::config
