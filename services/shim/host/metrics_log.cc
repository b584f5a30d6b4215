#include "services/shim/host/metrics_log.h"

#include <utility>

namespace dstack::shim {

void MetricsLog::Add(v1::HostMetrics sample) {
  if (samples_.size() == capacity_) {
    samples_.pop_front();
    ++dropped_;
  }
  samples_.push_back(std::move(sample));
}

v1::HostMetricsBatch MetricsLog::Take(std::size_t limit) {
  v1::HostMetricsBatch batch;
  batch.set_dropped(std::exchange(dropped_, 0));
  while (!samples_.empty() && static_cast<std::size_t>(batch.samples_size()) < limit) {
    *batch.add_samples() = std::move(samples_.front());
    samples_.pop_front();
  }
  return batch;
}

}  // namespace dstack::shim
