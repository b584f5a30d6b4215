#include "services/runner/usage/gpu_csv.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string>

#include <absl/strings/ascii.h>
#include <absl/strings/str_split.h>

#include "libs/base/macros.h"
#include "libs/base/status.h"

namespace dstack::runner {
namespace {

constexpr double kMiB = 1024.0 * 1024.0;
// More than any device has, and less than overflows in bytes.
constexpr double kLargest = 1e12;
constexpr double kPercent = 100.0;

using Row = std::vector<std::string>;

std::vector<Row> Rows(std::string_view csv) {
  std::vector<Row> rows;
  for (absl::string_view line : absl::StrSplit(base::ToAbsl(csv), '\n')) {
    if (absl::StripAsciiWhitespace(line).empty()) continue;
    Row row = absl::StrSplit(line, ',');
    for (std::string& cell : row) absl::StripAsciiWhitespace(&cell);
    rows.push_back(std::move(row));
  }
  return rows;
}

// Some versions add the unit although they were asked not to.
absl::StatusOr<double> Number(const Row& row, std::size_t column, std::string_view name) {
  const std::string text = column < row.size() ? row[column] : "";
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const std::string_view unit = base::ToStd(absl::StripAsciiWhitespace(
      absl::string_view(text).substr(static_cast<std::size_t>(end - text.data()))));
  const bool is_unit = unit.empty() || unit == "%" || unit == "MiB" || unit == "MB";
  if (error != std::errc() || !is_unit || !std::isfinite(value) || value < 0 || value > kLargest) {
    return base::Invalid(fmt::format("{} is {:?}, not a number", name, text));
  }
  return value;
}

absl::StatusOr<v1::GpuMetrics> Sample(const Row& row, std::size_t memory, std::size_t utilization) {
  ASSIGN_OR_RETURN(const double mib, Number(row, memory, "used memory"));
  ASSIGN_OR_RETURN(const double percent, Number(row, utilization, "utilization"));
  v1::GpuMetrics metrics;
  metrics.set_memory_used_bytes(static_cast<std::uint64_t>(mib * kMiB));
  metrics.set_utilization_ratio(percent / kPercent);
  return metrics;
}

absl::StatusOr<std::vector<v1::GpuMetrics>> Samples(const std::vector<Row>& rows,
                                                    std::size_t first,
                                                    std::size_t memory,
                                                    std::size_t utilization) {
  std::vector<v1::GpuMetrics> result;
  for (std::size_t i = first; i < rows.size(); ++i) {
    ASSIGN_OR_RETURN(v1::GpuMetrics sample, Sample(rows[i], memory, utilization));
    result.push_back(std::move(sample));
  }
  return result;
}

}  // namespace

absl::StatusOr<std::vector<v1::GpuMetrics>> ParseNvidiaSmi(std::string_view csv) {
  return Samples(Rows(csv), /*first=*/0, /*memory=*/0, /*utilization=*/1);
}

absl::StatusOr<std::vector<v1::GpuMetrics>> ParseHlSmi(std::string_view csv) {
  return Samples(Rows(csv), /*first=*/0, /*memory=*/0, /*utilization=*/1);
}

absl::StatusOr<std::vector<v1::GpuMetrics>> ParseAmdSmi(std::string_view csv) {
  const std::vector<Row> rows = Rows(csv);
  if (rows.empty()) return base::Invalid("no header");
  const auto column = [&](std::string_view name) -> absl::StatusOr<std::size_t> {
    const auto found = std::find(rows[0].begin(), rows[0].end(), name);
    if (found == rows[0].end()) return base::Invalid(fmt::format("no column {:?}", name));
    return static_cast<std::size_t>(found - rows[0].begin());
  };
  ASSIGN_OR_RETURN(const std::size_t memory, column("vram_used"));
  ASSIGN_OR_RETURN(const std::size_t utilization, column("gfx"));
  return Samples(rows, /*first=*/1, memory, utilization);
}

}  // namespace dstack::runner
