#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dstack/runner/v1/runner_service.grpc.pb.h"
#include "dstack/shim/v1/shim_service.grpc.pb.h"

#include "libs/base/mutex.h"

namespace dstack::server::fakes {

// A host as the server sees it: a shim and the runners of its tasks, on real Unix sockets, without
// containers. Its tasks survive Stop(), as containers do.
class FakeHost {
 public:
  // What the jobs on this host do.
  struct Script {
    std::vector<std::string> lines;
    int exit_status = 0;
    // Runs until it is stopped (SIGTERM ends it) or Finish() is called.
    bool runs_on = false;
    // Ignores a stop with a grace above zero.
    bool ignores_stop = false;
    // The container cannot be made.
    std::string create_error;
    // The runner never serves.
    bool has_no_runner = false;
  };

  explicit FakeHost(std::string directory);
  ~FakeHost();
  FakeHost(const FakeHost&) = delete;
  FakeHost& operator=(const FakeHost&) = delete;

  void Start();
  // The shim and all runners stop serving, at once.
  void Stop();
  std::string shim_socket() const;

  void SetScript(Script script);
  // Told in hello, and at once when a session is open.
  void SetFacts(shim::v1::HostFacts facts);
  // A drain that is set or lifted (without a reason) on the host itself. The server's command does
  // the same.
  void SetDrain(const std::optional<std::string>& reason);
  std::optional<std::string> drain() const;
  // Sends load to the server whose session is open, if it asked for batches.
  void Measure(const shim::v1::HostMetricsBatch& batch);
  // The runner of the job tells it.
  void TellUsage(const std::string& task_id, const runner::v1::SessionResponse& usage);
  // Output of a running job.
  void Print(const std::string& task_id, const std::string& text);
  // Its command ends.
  void Finish(const std::string& task_id, int exit_status);
  // The container is killed from outside; its logs are still delivered.
  void KillContainer(const std::string& task_id);
  // Everything about the task is lost, as after a disk failure.
  void Forget(const std::string& task_id);
  // A task that nobody submitted here.
  void AddStranger(const std::string& task_id);

  bool HasTask(const std::string& task_id) const;
  std::vector<std::string> task_ids() const;
  // How often the command of a task was started.
  int starts(const std::string& task_id) const;
  // Grace of the stops that the runner got, in order.
  std::vector<std::int64_t> stops_ms(const std::string& task_id) const;
  std::string archives(const std::string& task_id) const;
  std::uint64_t epoch() const;
  int submits() const;

 private:
  class Shim;
  class Runner;
  struct Task;
  friend class Shim;
  friend class Runner;

  void Drain(const std::optional<std::string>& reason) REQUIRES(mutex_);
  shim::v1::DrainStatus DrainStatus() const REQUIRES(mutex_);
  void Submit(const shim::v1::TaskSpec& spec) REQUIRES(mutex_);
  void Run(Task& task) REQUIRES(mutex_);
  void End(Task& task, runner::v1::FinishReason reason, int exit_status, int signal)
      REQUIRES(mutex_);
  void EndContainer(Task& task, shim::v1::TaskTerminationReason reason, int status)
      REQUIRES(mutex_);
  void Append(Task& task, const std::string& text) REQUIRES(mutex_);
  void Bury(const std::string& task_id) REQUIRES(mutex_);
  void Serve(const std::shared_ptr<Task>& task);
  std::shared_ptr<Task> Find(const std::string& task_id) const REQUIRES(mutex_);
  void Changed(Task& task) REQUIRES(mutex_);

  const std::string directory_;
  mutable base::Mutex mutex_;
  base::CondVar changed_;
  Script script_ GUARDED_BY(mutex_);
  std::map<std::string, std::shared_ptr<Task>> tasks_ GUARDED_BY(mutex_);
  std::vector<std::shared_ptr<Task>> buried_ GUARDED_BY(mutex_);
  std::map<std::string, int> starts_ GUARDED_BY(mutex_);  // outlives the tasks
  std::vector<std::string> removed_ GUARDED_BY(mutex_);
  std::vector<shim::v1::CommandFailed> failures_ GUARDED_BY(mutex_);
  shim::v1::HostFacts facts_ GUARDED_BY(mutex_);
  int facts_revision_ GUARDED_BY(mutex_) = 0;
  std::optional<std::string> drain_ GUARDED_BY(mutex_);
  int drain_answers_ GUARDED_BY(mutex_) = 0;
  std::vector<shim::v1::HostMetricsBatch> batches_ GUARDED_BY(mutex_);  // of this session
  std::uint64_t epoch_ GUARDED_BY(mutex_) = 0;
  int submits_ GUARDED_BY(mutex_) = 0;
  bool is_serving_ GUARDED_BY(mutex_) = false;
  std::uint64_t generation_ GUARDED_BY(mutex_) = 0;  // ends older sessions
  std::unique_ptr<Shim> shim_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace dstack::server::fakes
