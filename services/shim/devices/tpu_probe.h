#pragma once

#include <utility>

#include "services/shim/devices/device_tools.h"

namespace dstack::shim {

// Google TPU: device files /dev/accel<n>, or /dev/vfio/<n> of newer ones, and the chips on the PCI
// bus. There is no tool.
class TpuProbe final : public HostProbe {
 public:
  explicit TpuProbe(ProbeContext context) : HostProbe("tpu", std::move(context)) {}

  bool IsPresent() const override;
  absl::StatusOr<DeviceList> Find(const std::stop_token& stop) override;
};

}  // namespace dstack::shim
