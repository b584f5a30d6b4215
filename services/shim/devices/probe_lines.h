#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <absl/status/statusor.h>

#include "services/shim/devices/device_health.h"
#include "services/shim/ports/device_probe.h"

namespace dstack::shim {

// What one line of dstack-gpu-probe says.
struct ProbeFacts {
  DeviceList devices;
};

// An error that the driver told: "xid" with its number, "ecc_double" or "ecc_single".
struct ProbeEvent {
  std::string uuid;  // empty: not told which card
  std::string source;
  std::uint64_t code = 0;
};

// The card fell off the bus.
struct ProbeLoss {
  std::string uuid;
};

// All that DCGM finds wrong now; what it does not name is well.
struct ProbeHealth {
  std::vector<DeviceIncident> incidents;
};

struct ProbeSample {
  std::vector<v1::GpuMetrics> gpus;  // resource_id holds the UUID
};

// For the log only.
struct ProbeNote {
  std::string text;
};

using ProbeLine =
    std::variant<ProbeNote, ProbeFacts, ProbeEvent, ProbeLoss, ProbeHealth, ProbeSample>;

// INVALID_ARGUMENT: not a JSON object with a known type, or with values of wrong types.
absl::StatusOr<ProbeLine> ParseProbeLine(std::string_view line);

}  // namespace dstack::shim
