#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "dstack/shim/v1/host.pb.h"

#include "libs/base/clock.h"

namespace dstack::shim {

// Processor time of the host in ticks.
struct CpuTicks {
  std::uint64_t busy = 0;
  std::uint64_t total = 0;
};

// From the first line of /proc/stat.
CpuTicks ParseCpuTicks(std::string_view proc_stat);

// Samples the host's load. Not thread-safe.
class HostMeter {
 public:
  // `data_dir` lies on the disk to be watched.
  HostMeter(std::string data_dir, const base::Clock& clock);

  // The processor's share is that since the last call, or since the object was made.
  v1::HostMetrics Sample();

 private:
  const std::string data_dir_;
  const base::Clock& clock_;
  CpuTicks last_;
};

}  // namespace dstack::shim
