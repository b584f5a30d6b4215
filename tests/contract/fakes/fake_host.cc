#include "tests/contract/fakes/fake_host.h"

#include <atomic>
#include <chrono>
#include <thread>
#include <utility>

#include "fmt/format.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server_builder.h"
#include "libs/base/file.h"

namespace dstack::server::fakes {
namespace {

using common::v1::LOG_SOURCE_JOB;
using std::chrono::milliseconds;

std::unique_ptr<grpc::Server> ServeOn(const std::string& socket, grpc::Service* service) {
  static_cast<void>(base::RemoveAll(socket));
  grpc::ServerBuilder builder;
  builder.AddListeningPort("unix:" + socket, grpc::InsecureServerCredentials());
  builder.RegisterService(service);
  return builder.BuildAndStart();
}

}  // namespace

struct FakeHost::Task {
  shim::v1::TaskSpec spec;
  shim::v1::TaskStatus status;
  Script script;
  bool is_stranger = false;
  // The runner.
  runner::v1::JobStatus job;
  bool is_submitted = false;
  bool is_end_acked = false;
  runner::v1::JobSpec job_spec;
  std::map<std::string, std::string> archives;
  std::vector<common::v1::LogRecord> records;
  std::vector<std::int64_t> stops_ms;
  std::vector<runner::v1::SessionResponse> usage;
  std::unique_ptr<Runner> runner;
  std::unique_ptr<grpc::Server> server;
};

// One thread reads commands, the handler's own thread writes what changed.
class FakeHost::Shim final : public shim::v1::ShimService::Service {
 public:
  using Stream = grpc::ServerReaderWriter<shim::v1::SessionResponse, shim::v1::SessionRequest>;

  explicit Shim(FakeHost& host) : host_(host) {}

  grpc::Status Session(grpc::ServerContext* context, Stream* stream) override {
    shim::v1::SessionRequest first;
    if (!stream->Read(&first) || !first.has_hello())
      return {grpc::StatusCode::INVALID_ARGUMENT, "no hello"};
    std::uint64_t generation = 0;
    {
      base::MutexLock lock(host_.mutex_);
      if (first.hello().epoch() < host_.epoch_)
        return {grpc::StatusCode::FAILED_PRECONDITION, "stale epoch"};
      host_.epoch_ = first.hello().epoch();
      generation = ++host_.generation_;
      host_.removed_.clear();
      host_.failures_.clear();
      host_.batches_.clear();
      wants_batches_ = first.hello().wants_metrics_batches();
      host_.changed_.NotifyAll();
    }
    std::jthread reader([&] { ReadCommands(*stream); });
    Write(*context, *stream, generation);
    context->TryCancel();
    return {grpc::StatusCode::ABORTED, "replaced"};
  }

 private:
  void ReadCommands(Stream& stream) {
    shim::v1::SessionRequest request;
    while (stream.Read(&request)) {
      base::MutexLock lock(host_.mutex_);
      if (request.has_submit_task()) {
        host_.Submit(request.submit_task().spec());
      } else if (request.has_terminate_task()) {
        Terminate(request.terminate_task());
      } else if (request.has_remove_task()) {
        host_.Bury(request.remove_task().task_id());
        host_.removed_.push_back(request.remove_task().task_id());
      } else if (request.has_drain()) {
        host_.Drain(request.drain().is_draining() ? std::optional(request.drain().reason())
                                                  : std::nullopt);
      }
      host_.changed_.NotifyAll();
    }
    base::MutexLock lock(host_.mutex_);
    ++host_.generation_;
    host_.changed_.NotifyAll();
  }

  void Terminate(const shim::v1::TerminateTaskCommand& command) REQUIRES(host_.mutex_) {
    const auto task = host_.Find(command.task_id());
    if (task == nullptr) {
      shim::v1::CommandFailed failure;
      failure.set_task_id(command.task_id());
      failure.set_reason("TASK_NOT_FOUND");
      host_.failures_.push_back(failure);
      return;
    }
    host_.EndContainer(*task, shim::v1::TASK_TERMINATION_REASON_TERMINATED_BY_SERVER, 137);
  }

  void Write(grpc::ServerContext& context, Stream& stream, std::uint64_t generation) {
    shim::v1::SessionResponse hello;
    shim::v1::ShimHello& body = *hello.mutable_hello();
    body.set_protocol_version(1);
    body.mutable_heartbeat_interval()->set_seconds(5);
    body.mutable_capabilities()->set_has_images(true);
    int facts_sent = 0;
    {
      base::MutexLock lock(host_.mutex_);
      *body.mutable_facts() = host_.facts_;
      facts_sent = host_.facts_revision_;
    }
    stream.Write(hello);
    std::map<std::string, std::uint64_t> sent;
    std::size_t removed_sent = 0;
    std::size_t failures_sent = 0;
    std::size_t batches_sent = 0;
    bool is_synced = false;
    int drain_answers_sent = -1;
    std::string drain_sent = shim::v1::DrainStatus().SerializeAsString();
    while (!context.IsCancelled()) {
      std::vector<shim::v1::SessionResponse> out;
      {
        base::MutexLock lock(host_.mutex_);
        if (host_.generation_ != generation || !host_.is_serving_) return;
        for (const auto& [id, task] : host_.tasks_) {
          if (sent[id] >= task->status.revision()) continue;
          sent[id] = task->status.revision();
          *out.emplace_back().mutable_task_status() = task->status;
        }
        if (std::exchange(facts_sent, host_.facts_revision_) != host_.facts_revision_) {
          *out.emplace_back().mutable_host_facts() = host_.facts_;
        }
        for (; removed_sent < host_.removed_.size(); ++removed_sent) {
          out.emplace_back().mutable_task_removed()->set_task_id(host_.removed_[removed_sent]);
        }
        for (; failures_sent < host_.failures_.size(); ++failures_sent) {
          *out.emplace_back().mutable_command_failed() = host_.failures_[failures_sent];
        }
        for (; wants_batches_ && batches_sent < host_.batches_.size(); ++batches_sent) {
          *out.emplace_back().mutable_host_metrics_batch() = host_.batches_[batches_sent];
        }
        const shim::v1::DrainStatus drain = host_.DrainStatus();
        const bool is_answer =
            std::exchange(drain_answers_sent, host_.drain_answers_) != host_.drain_answers_ &&
            is_synced;
        if (std::exchange(drain_sent, drain.SerializeAsString()) != drain.SerializeAsString() ||
            is_answer) {
          *out.emplace_back().mutable_drain_status() = drain;
        }
        if (!std::exchange(is_synced, true)) out.emplace_back().mutable_sync_done();
        if (out.empty()) host_.changed_.WaitFor(host_.mutex_, milliseconds(100));
      }
      for (const auto& response : out) stream.Write(response);
    }
  }

  FakeHost& host_;
  bool wants_batches_ GUARDED_BY(host_.mutex_) = false;
};

class FakeHost::Runner final : public runner::v1::RunnerService::Service {
 public:
  using Stream = grpc::ServerReaderWriter<runner::v1::SessionResponse, runner::v1::SessionRequest>;

  Runner(FakeHost& host, std::weak_ptr<Task> task) : host_(host), task_(std::move(task)) {}

  grpc::Status Session(grpc::ServerContext* context, Stream* stream) override {
    const auto task = task_.lock();
    if (task == nullptr) return {grpc::StatusCode::UNAVAILABLE, "gone"};
    const auto token = context->client_metadata().find("authorization");
    if (token == context->client_metadata().end() ||
        std::string(token->second.data(), token->second.size()) !=
            "Bearer " + task->spec.runner_token()) {
      return {grpc::StatusCode::UNAUTHENTICATED, "token"};
    }
    runner::v1::SessionRequest first;
    if (!stream->Read(&first) || !first.has_hello())
      return {grpc::StatusCode::INVALID_ARGUMENT, "no hello"};
    const std::uint64_t session = ++session_;
    std::jthread reader([&] { ReadCommands(*stream, *task); });
    Write(*context, *stream, *task, session, first.hello());
    context->TryCancel();
    return {grpc::StatusCode::ABORTED, "replaced"};
  }

 private:
  void ReadCommands(Stream& stream, Task& task) {
    runner::v1::SessionRequest request;
    while (stream.Read(&request)) {
      base::MutexLock lock(host_.mutex_);
      Handle(request, task);
      host_.changed_.NotifyAll();
    }
    ++session_;
    base::MutexLock lock(host_.mutex_);
    host_.changed_.NotifyAll();
  }

  void Handle(const runner::v1::SessionRequest& request, Task& task) REQUIRES(host_.mutex_) {
    const bool is_alive = task.job.state() != runner::v1::JOB_STATE_FINISHED;
    if (request.has_submit_job() && is_alive) {
      task.is_submitted = true;
      task.job_spec = request.submit_job().job();
      if (task.job.state() == runner::v1::JOB_STATE_WAITING)
        SetState(task, runner::v1::JOB_STATE_PREPARING);
      needs_files_ = true;
    } else if (request.has_file_chunk()) {
      task.archives[request.file_chunk().digest()] += request.file_chunk().data();
    } else if (request.has_start_job() && task.job.state() == runner::v1::JOB_STATE_PREPARING) {
      host_.Run(task);
    } else if (request.has_stop_job() && is_alive) {
      const auto& grace = request.stop_job().grace();
      const std::int64_t ms = grace.seconds() * 1000 + grace.nanos() / 1'000'000;
      task.stops_ms.push_back(ms);
      if (ms == 0 || !task.script.ignores_stop)
        host_.End(task, runner::v1::FINISH_REASON_STOPPED, -1, ms == 0 ? 9 : 15);
    } else if (request.has_ack_end()) {
      task.is_end_acked = true;
      host_.EndContainer(task, shim::v1::TASK_TERMINATION_REASON_DONE_BY_RUNNER, 0);
    }
  }

  static void SetState(Task& task, runner::v1::JobState state) {
    task.job.set_state(state);
    task.job.set_revision(task.job.revision() + 1);
  }

  void Write(grpc::ServerContext& context,
             Stream& stream,
             Task& task,
             std::uint64_t session,
             const runner::v1::RunnerServerHello& hello) {
    std::uint64_t position = 0;
    for (const auto& known : hello.log_positions()) {
      if (known.source() == LOG_SOURCE_JOB) position = known.sequence();
    }
    std::uint64_t revision = 0;
    std::size_t usage_sent = 0;
    bool is_end_sent = false;
    bool is_greeted = false;
    while (!context.IsCancelled()) {
      std::vector<runner::v1::SessionResponse> out;
      {
        base::MutexLock lock(host_.mutex_);
        if (session_ != session || !host_.is_serving_) return;
        if (!std::exchange(is_greeted, true)) {
          *out.emplace_back().mutable_hello()->mutable_job_status() = task.job;
          revision = task.job.revision();
        }
        if (std::exchange(needs_files_, false)) {
          auto* needed = out.emplace_back().mutable_files_needed();
          for (const auto& file : task.job_spec.files()) {
            if (task.archives.count(file.digest()) == 0) needed->add_digests(file.digest());
          }
        }
        for (; position < task.records.size(); ++position) {
          auto* batch = out.emplace_back().mutable_log_batch();
          batch->set_source(LOG_SOURCE_JOB);
          *batch->add_records() = task.records[position];
        }
        for (; usage_sent < task.usage.size(); ++usage_sent) out.push_back(task.usage[usage_sent]);
        if (task.job.revision() > revision) {
          revision = task.job.revision();
          *out.emplace_back().mutable_job_status() = task.job;
        }
        if (task.job.state() == runner::v1::JOB_STATE_FINISHED &&
            !std::exchange(is_end_sent, true)) {
          auto* last = out.emplace_back().mutable_end_of_logs()->add_last();
          last->set_source(LOG_SOURCE_JOB);
          last->set_sequence(task.records.size());
        }
        if (out.empty()) host_.changed_.WaitFor(host_.mutex_, milliseconds(100));
      }
      for (const auto& response : out) stream.Write(response);
    }
  }

  FakeHost& host_;
  const std::weak_ptr<Task> task_;
  std::atomic<std::uint64_t> session_ = 0;
  bool needs_files_ GUARDED_BY(host_.mutex_) = false;
};

FakeHost::FakeHost(std::string directory)
    : directory_(std::move(directory)), shim_(std::make_unique<Shim>(*this)) {
  facts_.mutable_resources()->set_cpus(4);
  facts_.mutable_resources()->set_memory_bytes(8ULL << 30);
  facts_.set_container_runtime(shim::v1::CONTAINER_RUNTIME_DOCKER);
  facts_.set_shim_version("fake");
  Start();
}

FakeHost::~FakeHost() { Stop(); }

std::string FakeHost::shim_socket() const { return directory_ + "/shim.sock"; }

void FakeHost::Start() {
  std::vector<std::shared_ptr<Task>> tasks;
  {
    base::MutexLock lock(mutex_);
    is_serving_ = true;
    for (const auto& [id, task] : tasks_) tasks.push_back(task);
  }
  for (const auto& task : tasks) Serve(task);
  server_ = ServeOn(shim_socket(), shim_.get());
}

void FakeHost::Stop() {
  std::vector<std::shared_ptr<Task>> tasks;
  {
    base::MutexLock lock(mutex_);
    is_serving_ = false;
    changed_.NotifyAll();
    for (const auto& [id, task] : tasks_) tasks.push_back(task);
    tasks.insert(tasks.end(), buried_.begin(), buried_.end());
    buried_.clear();
  }
  const auto now = std::chrono::system_clock::now();
  if (server_ != nullptr) server_->Shutdown(now);
  server_.reset();
  for (const auto& task : tasks) {
    if (task->server != nullptr) task->server->Shutdown(now);
    task->server.reset();
  }
}

void FakeHost::Serve(const std::shared_ptr<Task>& task) {
  if (task->status.runner_socket().empty() || task->script.has_no_runner || task->is_stranger)
    return;
  if (task->runner == nullptr) task->runner = std::make_unique<Runner>(*this, task);
  task->server = ServeOn(task->status.runner_socket(), task->runner.get());
}

void FakeHost::Changed(Task& task) {
  task.status.set_revision(task.status.revision() + 1);
  changed_.NotifyAll();
}

void FakeHost::Submit(const shim::v1::TaskSpec& spec) {
  ++submits_;
  if (Find(spec.task_id()) != nullptr) return;
  auto task = std::make_shared<Task>();
  task->spec = spec;
  task->script = script_;
  task->status.set_task_id(spec.task_id());
  task->status.set_state(shim::v1::TASK_STATE_PENDING);
  task->job.set_state(runner::v1::JOB_STATE_WAITING);
  task->job.set_revision(1);
  tasks_[spec.task_id()] = task;
  Changed(*task);
  if (!script_.create_error.empty()) {
    task->status.set_termination_message(script_.create_error);
    EndContainer(*task, shim::v1::TASK_TERMINATION_REASON_CREATING_CONTAINER_ERROR, 0);
    return;
  }
  task->status.set_state(shim::v1::TASK_STATE_RUNNING);
  task->status.set_runner_socket(fmt::format("{}/r{}", directory_, spec.task_id().substr(0, 12)));
  Changed(*task);
  Serve(task);
}

void FakeHost::Run(Task& task) {
  ++starts_[task.spec.task_id()];
  task.job.set_state(runner::v1::JOB_STATE_RUNNING);
  task.job.set_revision(task.job.revision() + 1);
  for (const std::string& line : task.script.lines) Append(task, line);
  if (!task.script.runs_on) End(task, runner::v1::FINISH_REASON_EXITED, task.script.exit_status, 0);
}

void FakeHost::Append(Task& task, const std::string& text) {
  common::v1::LogRecord record;
  record.set_sequence(task.records.size() + 1);
  record.set_data(text);
  task.records.push_back(record);
}

void FakeHost::End(Task& task, runner::v1::FinishReason reason, int exit_status, int signal) {
  task.job.set_state(runner::v1::JOB_STATE_FINISHED);
  task.job.set_finish_reason(reason);
  if (exit_status >= 0) task.job.set_exit_status(exit_status);
  if (signal > 0) task.job.set_signal(signal);
  task.job.set_revision(task.job.revision() + 1);
  changed_.NotifyAll();
}

void FakeHost::EndContainer(Task& task, shim::v1::TaskTerminationReason reason, int status) {
  if (task.status.state() == shim::v1::TASK_STATE_TERMINATED) return;
  if (task.job.state() != runner::v1::JOB_STATE_FINISHED)
    End(task, runner::v1::FINISH_REASON_LOST, -1, 0);
  task.status.set_state(shim::v1::TASK_STATE_TERMINATED);
  task.status.set_termination_reason(reason);
  task.status.set_exit_status(status);
  Changed(task);
}

std::shared_ptr<FakeHost::Task> FakeHost::Find(const std::string& task_id) const {
  const auto it = tasks_.find(task_id);
  return it == tasks_.end() ? nullptr : it->second;
}

void FakeHost::SetScript(Script script) {
  base::MutexLock lock(mutex_);
  script_ = std::move(script);
}

void FakeHost::SetFacts(shim::v1::HostFacts facts) {
  base::MutexLock lock(mutex_);
  facts_ = std::move(facts);
  ++facts_revision_;
  changed_.NotifyAll();
}

void FakeHost::Measure(const shim::v1::HostMetricsBatch& batch) {
  base::MutexLock lock(mutex_);
  batches_.push_back(batch);
  changed_.NotifyAll();
}

void FakeHost::TellUsage(const std::string& task_id, const runner::v1::SessionResponse& usage) {
  base::MutexLock lock(mutex_);
  Find(task_id)->usage.push_back(usage);
  changed_.NotifyAll();
}

void FakeHost::SetDrain(const std::optional<std::string>& reason) {
  base::MutexLock lock(mutex_);
  Drain(reason);
  changed_.NotifyAll();
}

void FakeHost::Drain(const std::optional<std::string>& reason) {
  drain_ = reason;
  ++drain_answers_;
}

std::optional<std::string> FakeHost::drain() const {
  base::MutexLock lock(mutex_);
  return drain_;
}

shim::v1::DrainStatus FakeHost::DrainStatus() const {
  shim::v1::DrainStatus status;
  if (!drain_) return status;
  status.set_is_draining(true);
  status.set_reason(*drain_);
  for (const auto& [id, task] : tasks_) {
    const bool is_live = task->status.state() != shim::v1::TASK_STATE_TERMINATED;
    status.set_live_tasks(status.live_tasks() + (is_live ? 1 : 0));
  }
  return status;
}

void FakeHost::Print(const std::string& task_id, const std::string& text) {
  base::MutexLock lock(mutex_);
  Append(*Find(task_id), text);
  changed_.NotifyAll();
}

void FakeHost::Finish(const std::string& task_id, int exit_status) {
  base::MutexLock lock(mutex_);
  End(*Find(task_id), runner::v1::FINISH_REASON_EXITED, exit_status, 0);
}

void FakeHost::KillContainer(const std::string& task_id) {
  base::MutexLock lock(mutex_);
  EndContainer(*Find(task_id), shim::v1::TASK_TERMINATION_REASON_CONTAINER_EXITED_WITH_ERROR, 137);
}

void FakeHost::Bury(const std::string& task_id) {
  // Its server cannot end here: that waits for handlers, which want the lock.
  if (const auto task = Find(task_id); task != nullptr) buried_.push_back(task);
  tasks_.erase(task_id);
}

void FakeHost::Forget(const std::string& task_id) {
  base::MutexLock lock(mutex_);
  Bury(task_id);
}

void FakeHost::AddStranger(const std::string& task_id) {
  base::MutexLock lock(mutex_);
  auto task = std::make_shared<Task>();
  task->is_stranger = true;
  task->status.set_task_id(task_id);
  task->status.set_state(shim::v1::TASK_STATE_RUNNING);
  tasks_[task_id] = task;
  Changed(*task);
}

bool FakeHost::HasTask(const std::string& task_id) const {
  base::MutexLock lock(mutex_);
  return Find(task_id) != nullptr;
}

std::vector<std::string> FakeHost::task_ids() const {
  base::MutexLock lock(mutex_);
  std::vector<std::string> ids;
  for (const auto& [id, task] : tasks_) ids.push_back(id);
  return ids;
}

int FakeHost::starts(const std::string& task_id) const {
  base::MutexLock lock(mutex_);
  const auto it = starts_.find(task_id);
  return it == starts_.end() ? 0 : it->second;
}

std::vector<std::int64_t> FakeHost::stops_ms(const std::string& task_id) const {
  base::MutexLock lock(mutex_);
  const auto task = Find(task_id);
  return task == nullptr ? std::vector<std::int64_t>() : task->stops_ms;
}

std::string FakeHost::archives(const std::string& task_id) const {
  base::MutexLock lock(mutex_);
  std::string all;
  if (const auto task = Find(task_id); task != nullptr) {
    for (const auto& [digest, content] : task->archives) all += content;
  }
  return all;
}

std::uint64_t FakeHost::epoch() const {
  base::MutexLock lock(mutex_);
  return epoch_;
}

int FakeHost::submits() const {
  base::MutexLock lock(mutex_);
  return submits_;
}

}  // namespace dstack::server::fakes
