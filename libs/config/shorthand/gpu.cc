#include "libs/config/shorthand/gpu.h"

#include <algorithm>
#include <vector>

#include <fmt/format.h>

#include "libs/config/shorthand/memory.h"
#include "libs/config/shorthand/range.h"
#include "libs/config/text.h"

namespace dstack::config {

namespace {

constexpr std::string_view kRule =
    "must name a vendor, models, memory and number of GPUs, such as `A100:80GB:2` or `24GB..`";

absl::Status AddVendor(v1::GpuVendor vendor, v1::GpuSpec* gpu) {
  if (gpu->has_vendor()) return BrokenRule("must name one vendor");
  gpu->set_vendor(vendor);
  return absl::OkStatus();
}

absl::Status AddNames(const std::string& token, v1::GpuSpec* gpu) {
  if (gpu->name_size() > 0) {
    return BrokenRule("must have one list of models, split by commas: `A100,H100`");
  }
  for (const std::string& name : SplitOn(token, ',')) {
    if (name.empty()) return BrokenRule("must not have an empty model name");
    gpu->add_name(PlainGpuName(name));
  }
  return absl::OkStatus();
}

absl::Status AddMemory(const std::string& token, v1::GpuSpec* gpu) {
  if (gpu->has_memory()) return BrokenRule("must name one size of memory");
  const absl::StatusOr<v1::MemoryRange> memory = ParseMemoryRange(token);
  if (!memory.ok()) return memory.status();
  *gpu->mutable_memory() = *memory;
  return absl::OkStatus();
}

absl::Status AddCount(const std::string& token, v1::GpuSpec* gpu) {
  if (gpu->has_count()) return BrokenRule("must name one number of GPUs");
  const absl::StatusOr<v1::IntRange> count = ParseIntRange(token);
  if (!count.ok()) return count.status();
  *gpu->mutable_count() = *count;
  return absl::OkStatus();
}

absl::Status AddToken(const std::string& token, v1::GpuSpec* gpu) {
  if (token.empty()) return BrokenRule(kRule);
  if (const auto vendor = ParseGpuVendor(token)) return AddVendor(*vendor, gpu);
  if (IsAsciiAlpha(token.front())) return AddNames(token, gpu);
  if (std::any_of(token.begin(), token.end(), IsAsciiAlpha)) return AddMemory(token, gpu);
  return AddCount(token, gpu);
}

}  // namespace

absl::StatusOr<v1::GpuSpec> ParseGpu(std::string_view text) {
  v1::GpuSpec gpu;
  for (const std::string& token : SplitOn(WithoutSpaces(text), ':')) {
    if (absl::Status status = AddToken(token, &gpu); !status.ok()) return status;
  }
  if (!gpu.has_count()) gpu.mutable_count()->set_min(1);
  return gpu;
}

std::optional<v1::GpuVendor> ParseGpuVendor(std::string_view text) {
  const std::string word = AsciiLower(text);
  if (word == "nvidia") return v1::GPU_VENDOR_NVIDIA;
  if (word == "amd") return v1::GPU_VENDOR_AMD;
  if (word == "google" || word == "tpu") return v1::GPU_VENDOR_GOOGLE;
  if (word == "intel") return v1::GPU_VENDOR_INTEL;
  if (word == "tenstorrent" || word == "tt") return v1::GPU_VENDOR_TENSTORRENT;
  return std::nullopt;
}

std::string GpuVendorName(v1::GpuVendor vendor) {
  switch (vendor) {
    case v1::GPU_VENDOR_NVIDIA:
      return "nvidia";
    case v1::GPU_VENDOR_AMD:
      return "amd";
    case v1::GPU_VENDOR_GOOGLE:
      return "google";
    case v1::GPU_VENDOR_INTEL:
      return "intel";
    case v1::GPU_VENDOR_TENSTORRENT:
      return "tenstorrent";
    default:
      return "";
  }
}

absl::StatusOr<v1::ComputeCapability> ParseComputeCapability(std::string_view text) {
  const std::vector<std::string> parts = SplitOn(text, '.');
  if (parts.size() != 2 || !IsAllDigits(parts[0]) || !IsAllDigits(parts[1]) ||
      parts[0].size() > 4 || parts[1].size() > 4) {
    return BrokenRule("must be a version of two parts such as `8.0`");
  }
  v1::ComputeCapability capability;
  capability.set_major(static_cast<int32_t>(*ParseInteger(parts[0])));
  capability.set_minor(static_cast<int32_t>(*ParseInteger(parts[1])));
  return capability;
}

std::string PlainGpuName(std::string_view name) {
  constexpr std::string_view kOldPrefix = "tpu-";
  if (name.starts_with(kOldPrefix)) name.remove_prefix(kOldPrefix.size());
  return std::string(name);
}

std::string FormatGpu(const v1::GpuSpec& gpu) {
  std::vector<std::string> parts;
  if (gpu.name_size() > 0) {
    parts.push_back(fmt::format("{}", fmt::join(gpu.name(), ",")));
  } else if (gpu.vendor() != v1::GPU_VENDOR_UNSPECIFIED) {
    parts.push_back(GpuVendorName(gpu.vendor()));
  }
  if (gpu.has_memory()) parts.push_back(FormatMemoryRange(gpu.memory()));
  parts.push_back(FormatIntRange(gpu.count()));
  if (gpu.has_total_memory()) parts.push_back(FormatMemoryRange(gpu.total_memory()));
  if (gpu.has_compute_capability()) {
    parts.push_back(
        fmt::format("{}.{}", gpu.compute_capability().major(), gpu.compute_capability().minor()));
  }
  return Join(parts, ":");
}

}  // namespace dstack::config
