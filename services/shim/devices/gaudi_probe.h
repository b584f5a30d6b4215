#pragma once

#include <string_view>
#include <utility>
#include <vector>

#include "services/shim/devices/device_tools.h"

namespace dstack::shim {

// Intel Gaudi: hl-smi.
class GaudiProbe final : public HostProbe {
 public:
  explicit GaudiProbe(ProbeContext context) : HostProbe("gaudi", std::move(context)) {}

  // By the directory /dev/accel, which is also there for accelerators of other makers.
  bool IsPresent() const override;
  absl::StatusOr<DeviceList> Find(const std::stop_token& stop) override;
};

// Reads the answer of hl-smi --query-aip=name,memory.total,index[,bus_id,driver_version,uuid]
// --format=csv,noheader,nounits. A row with another number of fields, or without an index, ends the
// list; so does one that is cut off.
std::vector<common::v1::Gpu> ParseHlSmi(std::string_view csv);

}  // namespace dstack::shim
