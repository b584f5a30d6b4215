#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dstack/shim/v1/host.pb.h"

#include "libs/base/clock.h"
#include "libs/base/mutex.h"
#include "libs/exec/executor.h"
#include "services/shim/devices/device_monitor.h"
#include "services/shim/devices/device_tools.h"
#include "services/shim/devices/nvidia_watch.h"
#include "services/shim/domain/gpu_ledger.h"
#include "services/shim/domain/shim_home.h"
#include "services/shim/host/metrics.h"
#include "services/shim/host/task_meter.h"
#include "services/shim/ports/container_runtime.h"

namespace dstack::shim {

// All that the shim knows about its host: accelerators with their health, facts and load. Keeps the
// ledger in step with the devices. Thread-safe unless said otherwise.
class HostWatch {
 public:
  // Looks for accelerators; waits some seconds for them at most (see DeviceMonitor). References
  // outlive this object.
  // `device_root` is put in front of the paths of devices; empty for the host itself.
  HostWatch(const ShimHome& home, const std::string& device_root, GpuLedger& ledger);
  // Ends its threads, which call this object, first.
  ~HostWatch();

  // Begins to measure. Once, before Metrics(). `tasks` gives the status of all tasks.
  void Measure(ContainerRuntime& runtime,
               std::function<std::vector<v1::TaskStatus>()> tasks,
               exec::Executor& steps,
               const base::Clock& clock);

  // Called on any thread after a device has come, gone, failed or recovered; must not block. Empty:
  // nobody.
  void SetListener(std::function<void()> listener);

  // Asks for accelerators again, see DeviceMonitor::Refresh(). Blocks for some seconds at most.
  void Refresh();

  v1::HostFacts Facts(const RuntimeFacts& runtime) const;
  // One sample; looks for lost devices on the way. Not thread-safe.
  v1::HostMetrics Metrics();

 private:
  void OnDevices();
  std::vector<v1::GpuMetrics> GpuSamples() const;

  GpuLedger& ledger_;
  const std::string program_path_;
  const std::unique_ptr<DeviceTools> tools_;
  std::optional<HostMeter> host_meter_;
  std::optional<TaskMeter> task_meter_;

  base::Mutex mutex_;
  std::function<void()> listener_ GUARDED_BY(mutex_);
  // One change after the other, so that the ledger has the newest state in the end.
  base::Mutex apply_mutex_;
  bool is_closing_ GUARDED_BY(apply_mutex_) = false;
  std::unique_ptr<DeviceMonitor> monitor_;
  std::unique_ptr<NvidiaWatch> nvidia_ GUARDED_BY(apply_mutex_);
};

}  // namespace dstack::shim
