#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dstack/api/v1/metrics_service.pb.h"

#include "clients/cli/render/table.h"

namespace dstack::cli {

// What one job used.
struct JobUsage {
  uint32_t replica_num = 0;
  uint32_t job_num = 0;
  api::v1::GetJobMetricsResponse metrics;
};

struct UsageChartOptions {
  // The run goes on: the right end of the time axis is now.
  bool is_live = false;
};

// One line for the processors of each job and one for each of its accelerators: share in use and
// memory over time, and a time axis below. Jobs without points are left out; empty when all are.
std::string UsageChart(const std::vector<JobUsage>& jobs,
                       const UsageChartOptions& options,
                       const Screen& screen);

// A line of block elements, one for each value: 0 to 1, higher ones count as 1, negative ones are
// blank (nothing is known).
std::string Sparkline(const std::vector<double>& values);

}  // namespace dstack::cli
