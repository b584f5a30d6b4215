#pragma once

#include <string_view>
#include <vector>

#include "services/shim/ports/gpu_probe.h"

namespace dstack::shim {

// Asks nvidia-smi. Does nothing on hosts without the driver's devices.
class NvidiaProbe final : public GpuProbe {
 public:
  std::vector<common::v1::Gpu> Probe() override;
};

// Reads the answer of
//   nvidia-smi --query-gpu=name,memory.total,uuid,driver_version,pci.bus_id
//              --format=csv,noheader,nounits
// A row with another number of fields ends the list; memory that is no number counts as 0.
std::vector<common::v1::Gpu> ParseNvidiaSmi(std::string_view csv);

}  // namespace dstack::shim
