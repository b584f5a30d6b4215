#include "tests/component/cli_server/cli_fakes.h"

#include <chrono>
#include <ctime>
#include <utility>

#include <fmt/format.h>

#include "dstack/api/v1/file_service.grpc.pb.h"
#include "dstack/api/v1/fleet_service.grpc.pb.h"
#include "dstack/api/v1/instance_service.grpc.pb.h"
#include "dstack/api/v1/log_service.grpc.pb.h"
#include "dstack/api/v1/metrics_service.grpc.pb.h"
#include "dstack/api/v1/project_service.grpc.pb.h"
#include "dstack/api/v1/run_service.grpc.pb.h"
#include "dstack/api/v1/server_service.grpc.pb.h"
#include "dstack/api/v1/user_service.grpc.pb.h"

#include "libs/base/sha256.h"
#include "libs/base/status.h"
#include "libs/base/uuid.h"
#include "libs/rpc/status_mapping.h"

namespace dstack::cli {
namespace {

using api::v1::Fleet;
using api::v1::Run;

constexpr std::chrono::milliseconds kLook{20};

std::string LogKey(const std::string& submission_id, common::v1::LogSource source) {
  const bool is_runner = source == common::v1::LOG_SOURCE_RUNNER;
  return submission_id + (is_runner ? "/runner" : "/job");
}

bool IsFinal(api::v1::RunStatus status) { return status >= api::v1::RUN_STATUS_TERMINATED; }

grpc::Status NotFound(const std::string& reason, const std::string& text) {
  return rpc::ToGrpc(base::Error(absl::StatusCode::kNotFound, reason, text));
}

// The newest run of that name; nullptr if there is none.
Run* FindRun(FakeState& state, const std::string& name) REQUIRES(state.mutex) {
  for (auto run = state.runs.rbegin(); run != state.runs.rend(); ++run) {
    if (run->spec().run_name() == name || run->id() == name) return &*run;
  }
  return nullptr;
}

Run NewRun(const std::string& name, api::v1::RunStatus status) {
  Run run;
  run.set_id(base::NewUuid());
  run.set_project_name(std::string(FakeServer::kProject));
  run.set_user_name("admin");
  run.mutable_spec()->set_run_name(name);
  run.set_status(status);
  run.set_version(1);
  run.mutable_submitted_at()->set_seconds(std::time(nullptr));
  api::v1::Job* job = run.add_jobs();
  job->set_job_name(name + "-0-0");
  api::v1::JobSubmission* submission = job->add_submissions();
  submission->set_id(base::NewUuid());
  submission->set_status(api::v1::JOB_STATUS_SUBMITTED);
  *submission->mutable_submitted_at() = run.submitted_at();
  return run;
}

api::v1::JobSubmission* Newest(Run* run) {
  api::v1::Job* job = run->mutable_jobs(0);
  return job->mutable_submissions(job->submissions_size() - 1);
}

void FinishRun(Run* run, int exit_status) {
  const bool is_done = exit_status == 0;
  run->set_status(is_done ? api::v1::RUN_STATUS_DONE : api::v1::RUN_STATUS_FAILED);
  run->set_status_message(fmt::format("exited ({})", exit_status));
  api::v1::JobSubmission* submission = Newest(run);
  submission->set_status(is_done ? api::v1::JOB_STATUS_DONE : api::v1::JOB_STATUS_FAILED);
  submission->set_status_message(fmt::format("exited ({})", exit_status));
  submission->set_exit_status(exit_status);
  submission->set_termination_reason(
      is_done ? api::v1::JOB_TERMINATION_REASON_DONE_BY_RUNNER
              : api::v1::JOB_TERMINATION_REASON_CONTAINER_EXITED_WITH_ERROR);
}

void Append(FakeState& state, const std::string& key, std::string_view bytes)
    REQUIRES(state.mutex) {
  FakeState::Log& log = state.logs[key];
  common::v1::LogRecord record;
  record.set_sequence(log.records.size() + 1);
  record.set_data(std::string(bytes));
  log.records.push_back(std::move(record));
}

// Counts the call, checks the token, and fails it when the test wants that.
grpc::Status Enter(FakeState& state,
                   const grpc::ServerContext& context,
                   const std::string& method) {
  base::MutexLock lock(state.mutex);
  ++state.calls[method];
  const auto token = context.client_metadata().find("authorization");
  const std::string expected = fmt::format("Bearer {}", FakeServer::kToken);
  if (token == context.client_metadata().end() ||
      std::string(token->second.data(), token->second.size()) != expected) {
    return rpc::ToGrpc(
        base::Error(absl::StatusCode::kUnauthenticated, "INVALID_TOKEN", "The token is not valid"));
  }
  std::vector<grpc::Status>& failures = state.failures[method];
  if (failures.empty()) return grpc::Status();
  const grpc::Status status = failures.front();
  failures.erase(failures.begin());
  return status;
}

#define ENTER(method) \
  if (const grpc::Status entered = Enter(state_, *context, method); !entered.ok()) return entered

class FakeRuns final : public api::v1::RunService::Service {
 public:
  explicit FakeRuns(FakeState& state) : state_(state) {}

  grpc::Status PlanRun(grpc::ServerContext* context,
                       const api::v1::PlanRunRequest* request,
                       api::v1::PlanRunResponse* response) override {
    ENTER("PlanRun");
    base::MutexLock lock(state_.mutex);
    api::v1::RunPlan& plan = *response->mutable_plan();
    plan.set_project_name(request->project_name());
    plan.set_user_name("admin");
    *plan.mutable_effective_run_spec() = request->run_spec();
    plan.set_action(state_.is_updatable ? api::v1::APPLY_ACTION_UPDATE
                                        : api::v1::APPLY_ACTION_CREATE);
    const Run* current = FindRun(state_, request->run_spec().run_name());
    if (current != nullptr && !IsFinal(current->status())) {
      *plan.mutable_current_run() = *current;
      for (const std::string& field : state_.changed_fields) plan.add_changed_fields(field);
    }
    api::v1::JobPlan* job = plan.add_job_plans();
    job->set_total_offers(1);
    api::v1::Offer* offer = job->add_offers();
    offer->set_backend("remote");
    offer->set_region("remote");
    offer->set_instance_type("instance");
    offer->mutable_resources()->set_cpus(2);
    offer->mutable_resources()->set_memory_bytes(8ULL << 30);
    offer->set_availability(api::v1::OFFER_AVAILABILITY_IDLE);
    return grpc::Status();
  }

  grpc::Status ApplyRun(grpc::ServerContext* context,
                        const api::v1::ApplyRunRequest* request,
                        api::v1::ApplyRunResponse* response) override {
    ENTER("ApplyRun");
    base::MutexLock lock(state_.mutex);
    const std::string& known = state_.run_ids_by_request[request->request_id()];
    if (!known.empty()) {
      *response->mutable_run() = *FindRun(state_, known);
      return grpc::Status();
    }
    state_.last_run_spec = request->run_spec();
    const std::string& name = request->run_spec().run_name();
    Run run = NewRun(name.empty() ? "wet-mongoose-1" : name, api::v1::RUN_STATUS_SUBMITTED);
    *run.mutable_spec()->mutable_configuration() = request->run_spec().configuration();
    state_.run_ids_by_request[request->request_id()] = run.id();
    *response->mutable_run() = run;
    if (state_.on_submit) state_.on_submit(&run);
    state_.runs.push_back(std::move(run));
    state_.changed.NotifyAll();
    return grpc::Status();
  }

  grpc::Status GetRun(grpc::ServerContext* context,
                      const api::v1::GetRunRequest* request,
                      api::v1::GetRunResponse* response) override {
    ENTER("GetRun");
    base::MutexLock lock(state_.mutex);
    const Run* run =
        FindRun(state_, request->has_run_id() ? request->run_id() : request->run_name());
    if (run == nullptr) return NotFound("RUN_NOT_FOUND", "Run not found");
    *response->mutable_run() = *run;
    return grpc::Status();
  }

  grpc::Status ListRuns(grpc::ServerContext* context,
                        const api::v1::ListRunsRequest* request,
                        api::v1::ListRunsResponse* response) override {
    ENTER("ListRuns");
    base::MutexLock lock(state_.mutex);
    for (auto run = state_.runs.rbegin(); run != state_.runs.rend(); ++run) {
      if (request->only_active() && IsFinal(run->status())) continue;
      if (response->runs_size() == static_cast<int>(request->page_size())) break;
      *response->add_runs() = *run;
    }
    return grpc::Status();
  }

  grpc::Status WatchRun(grpc::ServerContext* context,
                        const api::v1::WatchRunRequest* request,
                        grpc::ServerWriter<api::v1::WatchRunResponse>* writer) override {
    ENTER("WatchRun");
    const std::string key = request->has_run_id() ? request->run_id() : request->run_name();
    uint64_t seen = request->after_version();
    while (true) {
      api::v1::WatchRunResponse response;
      {
        base::MutexLock lock(state_.mutex);
        const Run* run = FindRun(state_, key);
        if (run == nullptr) return NotFound("RUN_NOT_FOUND", "Run not found");
        while (run->version() <= seen) {
          if (IsFinal(run->status())) return grpc::Status();
          if (state_.is_stopping || context->IsCancelled()) return grpc::Status::CANCELLED;
          state_.changed.WaitFor(state_.mutex, kLook);
          run = FindRun(state_, key);
        }
        seen = run->version();
        *response.mutable_run() = *run;
      }
      if (!writer->Write(response)) return grpc::Status::CANCELLED;
      if (IsFinal(response.run().status())) return grpc::Status();
    }
  }

  grpc::Status DeleteRuns(grpc::ServerContext* context,
                          const api::v1::DeleteRunsRequest* request,
                          api::v1::DeleteRunsResponse*) override {
    ENTER("DeleteRuns");
    base::MutexLock lock(state_.mutex);
    for (const std::string& name : request->run_names()) {
      const Run* run = FindRun(state_, name);
      if (run == nullptr) return NotFound("RUN_NOT_FOUND", fmt::format("Run {} not found", name));
      if (!IsFinal(run->status())) {
        return rpc::ToGrpc(base::Error(absl::StatusCode::kFailedPrecondition,
                                       "RUN_ACTIVE",
                                       fmt::format("still active: {}. Stop them first", name)));
      }
      std::erase_if(state_.runs, [&](const Run& each) { return each.id() == run->id(); });
    }
    return grpc::Status();
  }

  grpc::Status StopRuns(grpc::ServerContext* context,
                        const api::v1::StopRunsRequest* request,
                        api::v1::StopRunsResponse* response) override {
    ENTER("StopRuns");
    base::MutexLock lock(state_.mutex);
    for (const std::string& name : request->run_names()) {
      if (FindRun(state_, name) == nullptr) {
        return NotFound("RUN_NOT_FOUND", fmt::format("Run {} not found", name));
      }
    }
    state_.last_stop = *request;
    for (const std::string& name : request->run_names()) {
      Run* run = FindRun(state_, name);
      if (!IsFinal(run->status())) {
        run->set_status(api::v1::RUN_STATUS_TERMINATED);
        run->set_status_message(request->is_abort() ? "aborted" : "stopped");
        run->set_version(run->version() + 1);
        state_.logs[LogKey(Newest(run)->id(), common::v1::LOG_SOURCE_JOB)].is_ended = true;
      }
      *response->add_runs() = *run;
    }
    state_.changed.NotifyAll();
    return grpc::Status();
  }

 private:
  FakeState& state_;
};

class FakeLogs final : public api::v1::LogService::Service {
 public:
  explicit FakeLogs(FakeState& state) : state_(state) {}

  grpc::Status StreamLogs(grpc::ServerContext* context,
                          const api::v1::StreamLogsRequest* request,
                          grpc::ServerWriter<api::v1::StreamLogsResponse>* writer) override {
    ENTER("StreamLogs");
    std::string submission_id = request->job_submission_id();
    if (submission_id.empty()) {
      base::MutexLock lock(state_.mutex);
      Run* run = FindRun(state_, request->run_name());
      if (run == nullptr) return NotFound("RUN_NOT_FOUND", "Run not found");
      submission_id = Newest(run)->id();
    }
    const std::string key = LogKey(submission_id, request->source());
    uint64_t position = request->after_sequence();
    int sent = 0;
    while (true) {
      api::v1::StreamLogsResponse response;
      response.set_job_submission_id(submission_id);
      {
        base::MutexLock lock(state_.mutex);
        const FakeState::Log& log = state_.logs[key];
        while (log.records.size() <= position && !log.is_ended) {
          if (state_.is_stopping || context->IsCancelled()) return grpc::Status::CANCELLED;
          if (!request->follow()) return grpc::Status();
          state_.changed.WaitFor(state_.mutex, kLook);
        }
        if (log.records.size() > position) {
          // What was sent last comes once more, as after a takeover by another replica.
          const size_t first = sent > 0 && position > 0 ? position - 1 : position;
          for (size_t i = first; i <= position; ++i) {
            *response.mutable_batch()->add_records() = log.records[i];
          }
          ++position;
        } else {
          response.set_is_end(true);
        }
        if (state_.log_breaks_left > 0 && sent == state_.break_logs_after) {
          --state_.log_breaks_left;
          return grpc::Status(grpc::StatusCode::UNAVAILABLE, "connection reset");
        }
      }
      ++sent;
      if (!writer->Write(response)) return grpc::Status::CANCELLED;
      if (response.is_end()) return grpc::Status();
    }
  }

 private:
  FakeState& state_;
};

class FakeFleets final : public api::v1::FleetService::Service {
 public:
  explicit FakeFleets(FakeState& state) : state_(state) {}

  grpc::Status PlanFleet(grpc::ServerContext* context,
                         const api::v1::PlanFleetRequest* request,
                         api::v1::PlanFleetResponse* response) override {
    ENTER("PlanFleet");
    base::MutexLock lock(state_.mutex);
    api::v1::FleetPlan& plan = *response->mutable_plan();
    plan.set_project_name(request->project_name());
    plan.set_user_name("admin");
    *plan.mutable_effective_fleet_spec() = request->fleet_spec();
    const Fleet* current = Find(request->fleet_spec().configuration().name());
    if (current != nullptr) *plan.mutable_current_fleet() = *current;
    for (const std::string& field : state_.changed_fields) plan.add_changed_fields(field);
    plan.set_is_updatable(state_.is_updatable);
    return grpc::Status();
  }

  grpc::Status ApplyFleet(grpc::ServerContext* context,
                          const api::v1::ApplyFleetRequest* request,
                          api::v1::ApplyFleetResponse* response) override {
    ENTER("ApplyFleet");
    base::MutexLock lock(state_.mutex);
    state_.last_fleet_spec = request->fleet_spec();
    const auto& configuration = request->fleet_spec().configuration();
    Fleet fleet;
    fleet.set_id(base::NewUuid());
    fleet.set_name(configuration.name());
    fleet.set_status(api::v1::FLEET_STATUS_ACTIVE);
    *fleet.mutable_spec()->mutable_configuration() = configuration;
    for (int i = 0; i < configuration.ssh_config().hosts_size(); ++i) {
      api::v1::Instance* instance = fleet.add_instances();
      instance->set_name(fmt::format("{}-{}", fleet.name(), i));
      instance->set_instance_num(static_cast<uint32_t>(i));
      instance->set_status(api::v1::INSTANCE_STATUS_PROVISIONING);
    }
    *response->mutable_fleet() = fleet;
    state_.fleets.push_back(std::move(fleet));
    return grpc::Status();
  }

  grpc::Status GetFleet(grpc::ServerContext* context,
                        const api::v1::GetFleetRequest* request,
                        api::v1::GetFleetResponse* response) override {
    ENTER("GetFleet");
    base::MutexLock lock(state_.mutex);
    const Fleet* fleet =
        Find(request->has_fleet_id() ? request->fleet_id() : request->fleet_name());
    if (fleet == nullptr) return NotFound("FLEET_NOT_FOUND", "Fleet not found");
    *response->mutable_fleet() = *fleet;
    return grpc::Status();
  }

  grpc::Status ListFleets(grpc::ServerContext* context,
                          const api::v1::ListFleetsRequest*,
                          api::v1::ListFleetsResponse* response) override {
    ENTER("ListFleets");
    base::MutexLock lock(state_.mutex);
    for (const Fleet& fleet : state_.fleets) *response->add_fleets() = fleet;
    return grpc::Status();
  }

  grpc::Status DeleteFleets(grpc::ServerContext* context,
                            const api::v1::DeleteFleetsRequest* request,
                            api::v1::DeleteFleetsResponse*) override {
    ENTER("DeleteFleets");
    base::MutexLock lock(state_.mutex);
    const std::string& name = request->fleet_names(0);
    if (Find(name) == nullptr && !request->allow_missing()) {
      return NotFound("FLEET_NOT_FOUND", fmt::format("Fleet {} not found", name));
    }
    std::erase_if(state_.fleets, [&](const Fleet& fleet) { return fleet.name() == name; });
    return grpc::Status();
  }

 private:
  Fleet* Find(const std::string& name) REQUIRES(state_.mutex) {
    for (Fleet& fleet : state_.fleets) {
      if (fleet.name() == name || fleet.id() == name) return &fleet;
    }
    return nullptr;
  }

  FakeState& state_;
};

class FakeInstances final : public api::v1::InstanceService::Service {
 public:
  explicit FakeInstances(FakeState& state) : state_(state) {}

  grpc::Status SetInstanceDrain(grpc::ServerContext* context,
                                const api::v1::SetInstanceDrainRequest* request,
                                api::v1::SetInstanceDrainResponse* response) override {
    ENTER("SetInstanceDrain");
    base::MutexLock lock(state_.mutex);
    for (Fleet& fleet : state_.fleets) {
      for (api::v1::Instance& instance : *fleet.mutable_instances()) {
        if (instance.id() != request->instance_id()) continue;
        instance.clear_drain();
        if (request->is_draining()) instance.mutable_drain()->set_reason(request->reason());
        *response->mutable_instance() = instance;
        return grpc::Status();
      }
    }
    return NotFound("INSTANCE_NOT_FOUND", "Instance not found");
  }

 private:
  FakeState& state_;
};

class FakeMetrics final : public api::v1::MetricsService::Service {
 public:
  explicit FakeMetrics(FakeState& state) : state_(state) {}

  grpc::Status GetJobMetrics(grpc::ServerContext* context,
                             const api::v1::GetJobMetricsRequest*,
                             api::v1::GetJobMetricsResponse* response) override {
    ENTER("GetJobMetrics");
    base::MutexLock lock(state_.mutex);
    *response = state_.job_metrics;
    return grpc::Status();
  }

 private:
  FakeState& state_;
};

class FakeFiles final : public api::v1::FileService::Service {
 public:
  explicit FakeFiles(FakeState& state) : state_(state) {}

  grpc::Status FindMissingFiles(grpc::ServerContext* context,
                                const api::v1::FindMissingFilesRequest* request,
                                api::v1::FindMissingFilesResponse* response) override {
    ENTER("FindMissingFiles");
    base::MutexLock lock(state_.mutex);
    for (const std::string& digest : request->digests()) {
      if (!state_.files.contains(digest)) response->add_missing_digests(digest);
    }
    return grpc::Status();
  }

  grpc::Status UploadFile(grpc::ServerContext* context,
                          grpc::ServerReader<api::v1::UploadFileRequest>* reader,
                          api::v1::UploadFileResponse* response) override {
    ENTER("UploadFile");
    api::v1::UploadFileRequest request;
    std::string digest;
    std::string bytes;
    while (reader->Read(&request)) {
      if (!request.digest().empty()) digest = request.digest();
      bytes += request.data();
    }
    if (base::Sha256Hex(bytes) != digest) {
      return rpc::ToGrpc(base::Error(
          absl::StatusCode::kInvalidArgument, "DIGEST_MISMATCH", "The digest does not match"));
    }
    response->set_size_bytes(bytes.size());
    base::MutexLock lock(state_.mutex);
    state_.files[digest] = std::move(bytes);
    return grpc::Status();
  }

 private:
  FakeState& state_;
};

class FakeProjects final : public api::v1::ProjectService::Service {
 public:
  explicit FakeProjects(FakeState& state) : state_(state) {}

  grpc::Status GetProject(grpc::ServerContext* context,
                          const api::v1::GetProjectRequest* request,
                          api::v1::GetProjectResponse* response) override {
    ENTER("GetProject");
    if (request->project_name() != FakeServer::kProject) {
      return NotFound("PROJECT_NOT_FOUND",
                      fmt::format("Project {} not found", request->project_name()));
    }
    response->mutable_project()->set_name(request->project_name());
    return grpc::Status();
  }

 private:
  FakeState& state_;
};

class FakeUsers final : public api::v1::UserService::Service {
 public:
  explicit FakeUsers(FakeState& state) : state_(state) {}

  grpc::Status GetMyUser(grpc::ServerContext* context,
                         const api::v1::GetMyUserRequest*,
                         api::v1::GetMyUserResponse* response) override {
    ENTER("GetMyUser");
    response->mutable_user()->set_name("admin");
    return grpc::Status();
  }

 private:
  FakeState& state_;
};

class FakeInfo final : public api::v1::ServerService::Service {
 public:
  grpc::Status GetServerInfo(grpc::ServerContext*,
                             const api::v1::GetServerInfoRequest*,
                             api::v1::GetServerInfoResponse* response) override {
    response->mutable_limits()->set_max_file_bytes(2 << 20);
    return grpc::Status();
  }
};

#undef ENTER

}  // namespace

struct FakeServer::Services {
  explicit Services(FakeState& state)
      : runs(state),
        logs(state),
        fleets(state),
        instances(state),
        metrics(state),
        files(state),
        projects(state),
        users(state) {}

  FakeRuns runs;
  FakeLogs logs;
  FakeFleets fleets;
  FakeInstances instances;
  FakeMetrics metrics;
  FakeFiles files;
  FakeProjects projects;
  FakeUsers users;
  FakeInfo info;
};

FakeServer::FakeServer() : services_(std::make_unique<Services>(state_)) { Start(); }

FakeServer::~FakeServer() { Stop(); }

std::string FakeServer::url() const { return fmt::format("http://127.0.0.1:{}", port_); }

void FakeServer::Start() {
  {
    base::MutexLock lock(state_.mutex);
    state_.is_stopping = false;
  }
  grpc::ServerBuilder builder;
  builder.AddListeningPort(
      fmt::format("127.0.0.1:{}", port_), grpc::InsecureServerCredentials(), &port_);
  builder.RegisterService(&services_->runs);
  builder.RegisterService(&services_->logs);
  builder.RegisterService(&services_->fleets);
  builder.RegisterService(&services_->instances);
  builder.RegisterService(&services_->metrics);
  builder.RegisterService(&services_->files);
  builder.RegisterService(&services_->projects);
  builder.RegisterService(&services_->users);
  builder.RegisterService(&services_->info);
  server_ = builder.BuildAndStart();
}

void FakeServer::Stop() {
  {
    base::MutexLock lock(state_.mutex);
    state_.is_stopping = true;
    state_.changed.NotifyAll();
  }
  // Everything that is under way is cut off.
  server_->Shutdown(std::chrono::system_clock::now());
  server_->Wait();
  server_.reset();
}

void FakeServer::Restart() {
  Stop();
  Start();
}

void FakeServer::FailNext(const std::string& method, const grpc::Status& status) {
  base::MutexLock lock(state_.mutex);
  state_.failures[method].push_back(status);
}

int FakeServer::CallsOf(const std::string& method) {
  base::MutexLock lock(state_.mutex);
  return state_.calls[method];
}

Run FakeServer::AddRun(const std::string& name, api::v1::RunStatus status) {
  base::MutexLock lock(state_.mutex);
  state_.runs.push_back(NewRun(name, status));
  state_.changed.NotifyAll();
  return state_.runs.back();
}

void FakeServer::ChangeRun(const std::string& name, const std::function<void(Run*)>& change) {
  base::MutexLock lock(state_.mutex);
  Run* run = FindRun(state_, name);
  change(run);
  run->set_version(run->version() + 1);
  state_.changed.NotifyAll();
}

void FakeServer::AppendLog(const std::string& run_name,
                           std::string_view bytes,
                           common::v1::LogSource source) {
  base::MutexLock lock(state_.mutex);
  Append(state_, LogKey(Newest(FindRun(state_, run_name))->id(), source), bytes);
  state_.changed.NotifyAll();
}

void FakeServer::EndLog(const std::string& run_name, common::v1::LogSource source) {
  base::MutexLock lock(state_.mutex);
  state_.logs[LogKey(Newest(FindRun(state_, run_name))->id(), source)].is_ended = true;
  state_.changed.NotifyAll();
}

void FakeServer::Finish(const std::string& run_name, int exit_status) {
  EndLog(run_name);
  ChangeRun(run_name, [&](Run* run) { FinishRun(run, exit_status); });
}

void FakeServer::RunEachWith(std::vector<std::string> output, int exit_status) {
  base::MutexLock lock(state_.mutex);
  state_.on_submit =
      [this, output = std::move(output), exit_status](Run* run) NO_THREAD_SAFETY_ANALYSIS {
        const std::string key = LogKey(Newest(run)->id(), common::v1::LOG_SOURCE_JOB);
        for (const std::string& bytes : output) Append(state_, key, bytes);
        state_.logs[key].is_ended = true;
        FinishRun(run, exit_status);
        run->set_version(run->version() + 1);
      };
}

void FakeServer::PutFleet(const Fleet& fleet) {
  base::MutexLock lock(state_.mutex);
  for (Fleet& known : state_.fleets) {
    if (known.name() != fleet.name()) continue;
    known = fleet;
    return;
  }
  state_.fleets.push_back(fleet);
}

void FakeServer::With(const std::function<void(FakeState&)>& use) {
  base::MutexLock lock(state_.mutex);
  use(state_);
}

bool FakeServer::HasRun(const std::string& name) {
  base::MutexLock lock(state_.mutex);
  return FindRun(state_, name) != nullptr;
}

}  // namespace dstack::cli
