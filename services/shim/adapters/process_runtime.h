#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

#include "libs/base/mutex.h"
#include "services/shim/adapters/exit_watcher.h"
#include "services/shim/adapters/process_identity.h"
#include "services/shim/domain/shim_home.h"
#include "services/shim/ports/container_runtime.h"

namespace dstack::shim {

struct ProcessRuntimeSettings {
  std::string shim_id;
  std::string runner_binary;
  std::string ssh_bundle_dir;  // empty: jobs without sshd
  uid_t owner = 0;             // of the runners' sockets
  gid_t group = 0;
  std::string runner_log_level;
  // What is known about accelerators with these ids; empty: nothing.
  std::function<std::vector<common::v1::Gpu>(const std::vector<std::string>&)> find_gpus;
};

// Tasks as process trees of this host, for hosts without an engine. The supervisor runs in a
// session of its own with a minimal environment, outlives the shim, and is found again by what is
// written in the task's directory and by a mark in its environment.
class ProcessRuntime final : public ContainerRuntime {
 public:
  ProcessRuntime(ShimHome home, ProcessRuntimeSettings settings);

  RuntimeFacts facts() const override;
  absl::StatusOr<ImageConfig> PrepareImage(
      const v1::TaskSpec& task,
      const std::function<void(const v1::PullProgress&)>& on_progress,
      const std::stop_token& stop) override;
  absl::StatusOr<ContainerStatus> Create(const LaunchSpec& launch) override;
  absl::StatusOr<ContainerStatus> Start(const std::string& task_id) override;
  void WatchExit(const std::string& task_id, std::function<void(absl::Status)> callback) override;
  absl::StatusOr<ContainerStatus> Inspect(const std::string& task_id) override;
  absl::Status Signal(const std::string& task_id, int signal) override;
  absl::Status Remove(const std::string& task_id) override;
  absl::StatusOr<std::vector<ContainerStatus>> List() override;
  absl::StatusOr<std::string> Describe(const std::string& task_id) override;
  std::string OutputTail(const std::string& task_id) override;

 private:
  // The file process.json of a task.
  struct ProcessFile {
    std::string name;
    std::vector<std::string> command;
    std::vector<std::string> env;
    std::uint64_t memory_bytes = 0;
    std::uint32_t cpu_milli = 0;
    // The start was tried; from then on a process may exist.
    bool is_starting = false;
    std::optional<ProcessIdentity> process;
  };

  // The supervisor of a start that was cut off is looked for and noted, because its mark is gone
  // with it and a start without a trace would count as one that never was.
  absl::StatusOr<ProcessFile> Load(const std::string& task_id);
  absl::StatusOr<ProcessFile> Read(const std::string& task_id) const;
  absl::Status Save(const std::string& task_id, const ProcessFile& file) const;
  std::string FilePath(const std::string& task_id) const;
  std::string Mark(const std::string& task_id) const;
  std::string CgroupName(const std::string& task_id) const;
  // The supervisor of a task whose start was cut off before its pid was written.
  std::optional<ProcessIdentity> FindByMark(const std::string& task_id) const;
  absl::StatusOr<ProcessIdentity> Spawn(const std::string& task_id, const ProcessFile& file) const;
  ContainerStatus ToStatus(const std::string& task_id, const ProcessFile& file);
  std::optional<int> ExitStatus(const std::string& task_id, const ProcessIdentity& process);
  void KillAll(const std::string& task_id, const ProcessFile& file);

  const ShimHome home_;
  const ProcessRuntimeSettings settings_;
  // Held while a process is noted or its file is removed.
  base::Mutex file_mutex_;
  base::Mutex mutex_;
  // Of our own children, which can be asked for only once.
  std::map<std::string, int> exit_statuses_ GUARDED_BY(mutex_);
  ExitWatcher watcher_;
};

}  // namespace dstack::shim
