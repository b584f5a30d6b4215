#pragma once

#include <string>
#include <utility>

#include "services/shim/devices/device_tools.h"
#include "services/shim/ports/device_probe.h"

namespace dstack::shim {

// Google TPU: device files /dev/accel<n>, or /dev/vfio/<n> of newer ones, and the chips on the PCI
// bus. There is no tool.
class TpuProbe final : public DeviceProbe {
 public:
  explicit TpuProbe(ProbeContext context) : context_(std::move(context)) {}

  std::string name() const override { return "tpu"; }
  bool IsPresent() const override;
  absl::StatusOr<DeviceList> Find(const std::stop_token& stop) override;

 private:
  const ProbeContext context_;
};

}  // namespace dstack::shim
