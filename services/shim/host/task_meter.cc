#include "services/shim/host/task_meter.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "libs/base/file.h"
#include "services/shim/host/usage.h"

namespace dstack::shim {
namespace {

std::string NetworkOf(const std::string& root, const std::string& process) {
  std::error_code error;
  return std::filesystem::read_symlink(root + "/proc/" + process + "/ns/net", error).string();
}

}  // namespace

TaskMeter::TaskMeter(Source source, exec::Executor& steps, std::string root)
    : source_(std::move(source)), steps_(steps), root_(std::move(root)) {}

std::vector<v1::TaskMetrics> TaskMeter::Sample() {
  std::vector<v1::TaskMetrics> samples;
  std::set<std::string> containers;
  const std::vector<v1::GpuMetrics> gpus = source_.gpus();
  for (const v1::TaskStatus& task : source_.tasks()) {
    if (task.state() != v1::TASK_STATE_RUNNING) continue;
    containers.insert(task.container_id());
    const std::int64_t pid = PidOf(task);
    v1::TaskMetrics metrics;
    if (pid == 0 || !Measure(pid, &metrics)) continue;
    metrics.set_task_id(task.task_id());
    for (const v1::GpuMetrics& gpu : gpus) {
      const auto& ids = task.gpu_ids();
      if (std::find(ids.begin(), ids.end(), gpu.resource_id()) != ids.end()) {
        *metrics.add_gpus() = gpu;
      }
    }
    samples.push_back(std::move(metrics));
  }
  ForgetOthers(containers);
  return samples;
}

std::int64_t TaskMeter::PidOf(const v1::TaskStatus& task) {
  {
    base::MutexLock lock(pids_->mutex);
    const auto known = pids_->known.find(task.container_id());
    if (known != pids_->known.end()) return known->second;
    if (!pids_->asked.insert(task.container_id()).second) return 0;
  }
  steps_.Post([pids = pids_,
               pid_of = source_.pid_of,
               task_id = task.task_id(),
               container = task.container_id()] {
    const std::int64_t pid = pid_of(task_id);
    base::MutexLock lock(pids->mutex);
    pids->asked.erase(container);
    // Without an answer it is asked again with the next sample.
    if (pid != 0) pids->known[container] = pid;
  });
  return 0;
}

void TaskMeter::ForgetOthers(const std::set<std::string>& containers) {
  base::MutexLock lock(pids_->mutex);
  std::erase_if(pids_->known,
                [&](const auto& entry) { return containers.count(entry.first) == 0; });
}

bool TaskMeter::Measure(std::int64_t pid, v1::TaskMetrics* metrics) const {
  const std::string process = std::to_string(pid);
  const std::string dir = root_ + "/proc/" + process;
  const std::string groups = base::ReadFile(dir + "/cgroup").value_or("");
  const std::string own = base::ReadFile(root_ + "/proc/self/cgroup").value_or("");
  if (groups.empty() || groups == own) return false;
  const auto usage = ReadGroupUsage(root_, ParseGroupPaths(groups));
  if (!usage) return false;
  metrics->set_cpu_usage_micros(usage->cpu_micros);
  metrics->set_memory_used_bytes(usage->memory_bytes);
  metrics->set_disk_read_bytes(usage->disk.in);
  metrics->set_disk_written_bytes(usage->disk.out);
  const std::string network = NetworkOf(root_, process);
  if (!network.empty() && network != NetworkOf(root_, "self")) {
    const ByteCounters bytes = ParseNetDev(base::ReadFile(dir + "/net/dev").value_or(""),
                                           [](std::string_view name) { return name != "lo"; });
    metrics->set_network_received_bytes(bytes.in);
    metrics->set_network_sent_bytes(bytes.out);
  }
  return true;
}

}  // namespace dstack::shim
