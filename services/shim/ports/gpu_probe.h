#pragma once

#include <vector>

#include "dstack/common/v1/resources.pb.h"

namespace dstack::shim {

// Finds the accelerators of the host. A host without any, or whose tool fails, has none: that is
// never an error, and is logged where it is a surprise.
class GpuProbe {
 public:
  virtual ~GpuProbe() = default;
  // In the order of the host's tool. Blocks for some seconds at most.
  virtual std::vector<common::v1::Gpu> Probe() = 0;
};

}  // namespace dstack::shim
