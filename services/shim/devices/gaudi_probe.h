#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "services/shim/devices/device_tools.h"
#include "services/shim/ports/device_probe.h"

namespace dstack::shim {

// Intel Gaudi: hl-smi.
class GaudiProbe final : public DeviceProbe {
 public:
  explicit GaudiProbe(ProbeContext context) : context_(std::move(context)) {}

  std::string name() const override { return "gaudi"; }
  // By the directory /dev/accel, which is also there for accelerators of other makers.
  bool IsPresent() const override;
  absl::StatusOr<DeviceList> Find(const std::stop_token& stop) override;

 private:
  const ProbeContext context_;
};

// Reads the answer of hl-smi --query-aip=name,memory.total,index[,bus_id,driver_version,uuid]
// --format=csv,noheader,nounits. A row with another number of fields ends the list.
std::vector<common::v1::Gpu> ParseHlSmi(std::string_view csv);

}  // namespace dstack::shim
