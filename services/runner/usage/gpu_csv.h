#pragma once

#include <string_view>
#include <vector>

#include <absl/status/statusor.h>

#include "dstack/runner/v1/metrics.pb.h"

namespace dstack::runner {

// Output of the vendors' tools for all accelerators that they show, in their order. A value that is
// not a number ("N/A", "[Not Supported]") is an INVALID_ARGUMENT error that names column and text:
// half a sample would look like an idle accelerator. Pure.

// nvidia-smi --query-gpu=memory.used,utilization.gpu --format=csv,noheader,nounits
absl::StatusOr<std::vector<v1::GpuMetrics>> ParseNvidiaSmi(std::string_view csv);
// amd-smi monitor -vu --csv: the header tells the columns, which differ between its generations.
absl::StatusOr<std::vector<v1::GpuMetrics>> ParseAmdSmi(std::string_view csv);
// hl-smi --query-aip=memory.used,utilization.aip --format=csv,noheader,nounits
absl::StatusOr<std::vector<v1::GpuMetrics>> ParseHlSmi(std::string_view csv);

}  // namespace dstack::runner
