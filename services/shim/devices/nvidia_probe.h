#pragma once

#include <string>
#include <utility>
#include <vector>

#include "services/shim/devices/device_tools.h"

namespace dstack::shim {

// NVIDIA: the driver's library through dstack-gpu-probe, else nvidia-smi.
class NvidiaProbe final : public HostProbe {
 public:
  // `program` is dstack-gpu-probe with the arguments that follow its verb; empty: nvidia-smi only.
  NvidiaProbe(ProbeContext context, std::vector<std::string> program)
      : HostProbe("nvidia", std::move(context)), program_(std::move(program)) {}

  // Also in WSL, where the driver has no device of its own.
  bool IsPresent() const override;
  absl::StatusOr<DeviceList> Find(const std::stop_token& stop) override;

 private:
  absl::StatusOr<DeviceList> AskLibrary(const std::stop_token& stop) const;

  const std::vector<std::string> program_;
};

}  // namespace dstack::shim
