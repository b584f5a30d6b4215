#pragma once

#include <stop_token>
#include <string>
#include <vector>

#include <absl/status/statusor.h>

#include "dstack/common/v1/resources.pb.h"
#include "dstack/shim/v1/host.pb.h"

namespace dstack::shim {

// Accelerators, and which of them are near each other.
struct DeviceList {
  std::vector<common::v1::Gpu> gpus;  // in the order of the host's tool
  std::vector<v1::GpuLink> links;     // each pair at most once
};

// Finds the accelerators of one maker.
class DeviceProbe {
 public:
  virtual ~DeviceProbe() = default;
  // For the log: "nvidia".
  virtual std::string name() const = 0;
  // Looks at device files only: whether Find() has anything to ask. Does not block.
  virtual bool IsPresent() const = 0;
  // Blocks for as long as the maker's tools take, at most a minute; `stop` cuts it off. An error
  // means that there are devices which could not be asked; what none of the ways knows is left out.
  virtual absl::StatusOr<DeviceList> Find(const std::stop_token& stop) = 0;
};

}  // namespace dstack::shim
