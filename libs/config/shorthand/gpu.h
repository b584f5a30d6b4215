// Accelerator requirements: `2`, `24GB..`, `A100:80GB:2`, `nvidia:24GB`, `A10,A10G:4..8`.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include <absl/status/statusor.h>

#include "dstack/config/v1/resources.pb.h"

namespace dstack::config {

// Vendor, model names, memory of one GPU and number of GPUs, split by `:`, in any order, each at
// most once. An omitted number is `1..`. The error message is the rule.
absl::StatusOr<v1::GpuSpec> ParseGpu(std::string_view text);

// `nvidia`, `AMD`, `tpu`, `tt`, ...; case does not matter. nullopt: no vendor.
std::optional<v1::GpuVendor> ParseGpuVendor(std::string_view text);
// `nvidia`, `amd`, `google`, `intel`, `tenstorrent`; empty where unspecified.
std::string GpuVendorName(v1::GpuVendor vendor);

// `8.0`. A bare whole number is refused: `8` could be `8.0` or `8.9`.
absl::StatusOr<v1::ComputeCapability> ParseComputeCapability(std::string_view text);

// A model name without the leading `tpu-` of older files.
std::string PlainGpuName(std::string_view name);

// `A100,H100:80GB:2:160GB..:8.0`, parts that are not asked for left out; names before vendor.
std::string FormatGpu(const v1::GpuSpec& gpu);

}  // namespace dstack::config
