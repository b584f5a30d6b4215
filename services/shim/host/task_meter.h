#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "dstack/shim/v1/host.pb.h"
#include "dstack/shim/v1/task.pb.h"

#include "libs/base/mutex.h"
#include "libs/exec/executor.h"

namespace dstack::shim {

// Measures running tasks from outside of their containers. Not thread-safe.
class TaskMeter {
 public:
  struct Source {
    // Status of all tasks now.
    std::function<std::vector<v1::TaskStatus>()> tasks;
    // Process id, on the host, of the first process of a task; 0 when it does not run. May block.
    std::function<std::int64_t(const std::string& task_id)> pid_of;
    // Newest samples of all accelerators.
    std::function<std::vector<v1::GpuMetrics>()> gpus;
  };

  // Process ids are asked for on `steps`, once per container. `root` is put in front of all paths;
  // empty for the host itself. `steps` outlives this object and has run dry before its end.
  TaskMeter(Source source, exec::Executor& steps, std::string root);

  // One sample of each running task that can be measured: of a container that has just started the
  // process id is not known yet, and a process that shares the shim's own control group has no
  // numbers of its own.
  std::vector<v1::TaskMetrics> Sample();

 private:
  // Shared with the steps that ask for process ids.
  struct Pids {
    base::Mutex mutex;
    std::map<std::string, std::int64_t> known GUARDED_BY(mutex);  // by container
    std::set<std::string> asked GUARDED_BY(mutex);
  };

  std::int64_t PidOf(const v1::TaskStatus& task);
  void ForgetOthers(const std::set<std::string>& containers);
  bool Measure(std::int64_t pid, v1::TaskMetrics* metrics) const;

  const Source source_;
  exec::Executor& steps_;
  const std::string root_;
  const std::shared_ptr<Pids> pids_ = std::make_shared<Pids>();
};

}  // namespace dstack::shim
