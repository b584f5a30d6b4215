// Processor requirements: `4`, `2..`, `arm:4..`, `x86`.
#pragma once

#include <string>
#include <string_view>

#include <absl/status/statusor.h>

#include "dstack/config/v1/resources.pb.h"

namespace dstack::config {

// An architecture and a number of processors, split by `:`, in any order; an omitted number is
// `2..`. The error message is the rule.
absl::StatusOr<v1::CpuSpec> ParseCpu(std::string_view text);

// `arm:4..`, `2..`; empty where nothing is asked for.
std::string FormatCpu(const v1::CpuSpec& cpu);

// `2..`.
v1::IntRange DefaultCpuCount();

}  // namespace dstack::config
