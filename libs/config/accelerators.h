// Known accelerators and what follows from their names.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "dstack/config/v1/resources.pb.h"

namespace dstack::config {

struct Accelerator {
  v1::GpuVendor vendor = v1::GPU_VENDOR_UNSPECIFIED;
  std::string_view name;  // as it is printed, such as `A100`
  std::vector<int> memory_gb;
  // NVIDIA: compute capability, (major, minor).
  std::optional<std::pair<int, int>> compute_capability;
};

// Compared without regard to case. nullptr: not known. TPU names (`v5p-8`) are not in the list.
const Accelerator* FindAccelerator(std::string_view name);

// The vendor of a model name; TPUs are known by their version (`v5p-8`, `v6e-4`). Unspecified: not
// known.
v1::GpuVendor VendorOfModel(std::string_view name);

// The vendor that is asked for, and the known vendors of the names; without repetition.
std::vector<v1::GpuVendor> VendorsOf(const v1::GpuSpec& gpu);

// Memory in bytes as the card is sold: a known size within 7 % of what the driver reports, else
// whole GB (81559 MiB of an A100 are 80 GB).
uint64_t NominalGpuMemoryBytes(std::string_view name, uint64_t reported_bytes);

}  // namespace dstack::config
