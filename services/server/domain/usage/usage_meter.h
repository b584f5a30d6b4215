#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "dstack/api/v1/metrics.pb.h"
#include "dstack/runner/v1/metrics.pb.h"
#include "dstack/shim/v1/host.pb.h"

#include "services/server/domain/run/run.h"

namespace dstack::server {

// One reading of what a job or a host uses.
struct UsageSample {
  TimePoint time;
  // Exactly one of the two, or none: since the container's start, or right now.
  std::optional<std::uint64_t> cpu_usage_micros;
  std::optional<double> cpus_used;
  // Everything but cpus_used and the averages of accelerators, as it goes into a point.
  api::v1::UsagePoint values;
};

UsageSample SampleOfHost(const shim::v1::HostMetrics& metrics, std::uint32_t cpus, TimePoint time);
UsageSample SampleOfTask(const shim::v1::TaskMetrics& metrics, TimePoint time);
UsageSample SampleOfJob(const runner::v1::JobMetrics& metrics, TimePoint time);

// Makes one point of the samples of each ten seconds. Intervals lie at multiples of ten seconds, so
// that two servers, one after the other, make points with the same times. Pure.
class UsageMeter {
 public:
  // Gives the point of the interval before when the sample begins another. A sample that is not
  // later than the last one is dropped.
  std::optional<api::v1::UsagePoint> Add(UsageSample sample);
  // The point of the interval so far; absent when nothing came.
  std::optional<api::v1::UsagePoint> Finish();

 private:
  bool IsSameInterval(TimePoint time) const;

  std::optional<UsageSample> newest_;
  std::optional<UsageSample> reference_;  // last one of the interval before
  std::uint32_t count_ = 0;               // samples in this interval
  double cpus_sum_ = 0;
  std::uint32_t cpus_count_ = 0;
  std::vector<double> gpu_usage_sums_;
  std::vector<double> gpu_power_sums_;
};

// One view of a job out of the one from outside and the one from inside of its container, either of
// which may be missing.
std::optional<api::v1::UsagePoint> JoinPoints(std::optional<api::v1::UsagePoint> outside,
                                              std::optional<api::v1::UsagePoint> inside);

}  // namespace dstack::server
