#pragma once

#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "dstack/runner/v1/metrics.pb.h"

namespace dstack::runner {

// Asks the vendor's tool of the image for the use of the job's accelerators, again and again on a
// thread of its own, because a tool may take seconds or hang. In a container the tool shows the
// container's devices only.
class GpuSampler {
 public:
  using OnSample = std::function<void(std::vector<v1::GpuMetrics>)>;

  // Null where no tool is found. `on_sample` is called on the sampler's thread; an empty sample
  // means that the tool failed.
  static std::unique_ptr<GpuSampler> Start(OnSample on_sample);
  // Ends the tool that runs.
  ~GpuSampler() = default;

 private:
  explicit GpuSampler(std::jthread thread) : thread_(std::move(thread)) {}
  std::jthread thread_;
};

}  // namespace dstack::runner
