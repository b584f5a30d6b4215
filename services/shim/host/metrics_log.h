#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>

#include "dstack/shim/v1/host.pb.h"

namespace dstack::shim {

// The newest samples that were not sent yet, a bounded number of them. Not thread-safe.
class MetricsLog {
 public:
  explicit MetricsLog(std::size_t capacity) : capacity_(capacity) {}

  // Drops the oldest one when there is no room.
  void Add(v1::HostMetrics sample);
  // At most `limit` of the oldest ones with the number of those dropped before them.
  v1::HostMetricsBatch Take(std::size_t limit);

  // The last one added and not taken; empty when there is none.
  v1::HostMetrics newest() const { return samples_.empty() ? v1::HostMetrics() : samples_.back(); }
  std::size_t size() const { return samples_.size(); }

 private:
  const std::size_t capacity_;
  std::deque<v1::HostMetrics> samples_;
  std::uint32_t dropped_ = 0;
};

}  // namespace dstack::shim
