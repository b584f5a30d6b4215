// Memory sizes: `512MB`, `24GB`, `1.5TB`, `16` (GB). 1 TB = 1024 GB, 1 GB = 1024 MB = 2^30 bytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <absl/status/statusor.h>

#include "dstack/config/v1/resources.pb.h"

namespace dstack::config {

// Case and spaces do not matter; without a unit it is GB. The error message is the rule.
absl::StatusOr<uint64_t> ParseMemory(std::string_view text);

// `16GB` (exactly), `16GB..`, `..1TB`, `512..1TB`.
absl::StatusOr<v1::MemoryRange> ParseMemoryRange(std::string_view text);

// In GB, rounded to four digits after the point: `24GB`, `1536GB`, `0.5GB`.
std::string FormatMemory(uint64_t bytes);

// `8GB..`, `..1024GB`, `8GB..16GB`, `8GB`; empty where both bounds are absent.
std::string FormatMemoryRange(const v1::MemoryRange& range);

}  // namespace dstack::config
