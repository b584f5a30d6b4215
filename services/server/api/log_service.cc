#include "services/server/api/log_service.h"

#include "fmt/format.h"
#include "libs/base/status.h"
#include "libs/base/uuid.h"
#include "services/server/api/convert.h"
#include "services/server/api/methods.h"

namespace dstack::server {
namespace {

// One message on the wire, one ready behind it.
constexpr std::size_t kLogQueue = 2;

}  // namespace

LogService::LogService(const LogCall::Services& streams,
                       const LogStream::Services& logs,
                       const Access& access,
                       RunStore& runs)
    : streams_(streams), logs_(logs), access_(access), runs_(runs) {}

grpc::ServerWriteReactor<api::v1::StreamLogsResponse>* LogService::StreamLogs(
    grpc::CallbackServerContext* context, const api::v1::StreamLogsRequest* request) {
  return LogCall::Begin(streams_,
                        *context,
                        methods::kStreamLogs,
                        kLogQueue,
                        [this, copy = *request](const std::shared_ptr<LogCall>& call) {
                          const absl::Status status = StartStream(call, copy);
                          if (!status.ok()) call->Finish(status);
                        });
}

absl::Status LogService::StartStream(const std::shared_ptr<LogCall>& call,
                                     const api::v1::StreamLogsRequest& request) {
  ASSIGN_OR_RETURN(const LogStream::Request resolved, Resolve(call->caller(), request));
  LogStream::Start(call, logs_, resolved);
  return absl::OkStatus();
}

absl::StatusOr<LogStream::Request> LogService::Resolve(const rpc::Caller& caller,
                                                       const api::v1::StreamLogsRequest& request) {
  ASSIGN_OR_RETURN(const Project project, access_.FindProject(caller, request.project_name()));
  if (!common::v1::LogSource_IsValid(request.source())) {
    return base::InvalidField("source",
                              fmt::format("{} is no log source that this server knows",
                                          static_cast<int>(request.source())));
  }
  const bool by_id = !request.job_submission_id().empty();
  ASSIGN_OR_RETURN(
      LogStream::Request result,
      by_id ? FindSubmission(project, request.job_submission_id()) : FindNewest(project, request));
  const bool is_default = request.source() == common::v1::LOG_SOURCE_UNSPECIFIED;
  result.source = is_default ? common::v1::LOG_SOURCE_JOB : request.source();
  result.after_sequence = request.after_sequence();
  if (request.has_since()) result.since = FromProto(request.since());
  result.follow = request.follow();
  return result;
}

absl::StatusOr<LogStream::Request> LogService::FindSubmission(const Project& project,
                                                              const std::string& id) {
  const absl::Status absent = base::NotFound("JOB_NOT_FOUND", "job", id);
  if (!base::IsUuid(id)) return absent;
  const auto job = logs_.jobs.Load(JobId(id));
  if (absl::IsNotFound(job.status())) return absent;
  if (!job.ok()) return job.status();
  if (job->run.project_id != project.id) return absent;
  LogStream::Request result;
  result.run = job->run.id;
  result.job = job->job.id;
  return result;
}

absl::StatusOr<LogStream::Request> LogService::FindNewest(
    const Project& project, const api::v1::StreamLogsRequest& request) {
  if (request.run_name().empty())
    return base::InvalidField("run_name", "run_name or job_submission_id must be set");
  ASSIGN_OR_RETURN(const RunAndJobs run,
                   runs_.Load(project.id, {.name = request.run_name(), .id = ""}));
  const Job* newest = nullptr;
  for (const Job& job : run.jobs) {
    if (job.replica_num != request.replica_num() || job.job_num != request.job_num()) continue;
    if (newest == nullptr || job.submission_num >= newest->submission_num) newest = &job;
  }
  if (newest == nullptr) {
    return base::NotFound(
        "JOB_NOT_FOUND",
        "job",
        fmt::format(
            "{} replica {} job {}", request.run_name(), request.replica_num(), request.job_num()));
  }
  LogStream::Request result;
  result.run = run.run.id;
  result.job = newest->id;
  return result;
}

}  // namespace dstack::server
