#include "services/server/api/metrics_service.h"

#include <utility>

#include "fmt/format.h"
#include "libs/base/status.h"
#include "services/server/api/convert.h"
#include "services/server/api/methods.h"

namespace dstack::server {
namespace {

constexpr std::uint32_t kDefaultPoints = 1;
constexpr std::uint32_t kMaxPoints = 1000;

UsageStore::Window WindowOf(const api::v1::MetricsWindow& window) {
  UsageStore::Window result;
  result.limit = PageSize(window.limit(), kDefaultPoints, kMaxPoints);
  if (window.has_after()) result.after = FromProto(window.after());
  if (window.has_before()) result.before = FromProto(window.before());
  return result;
}

// The newest submission at that position; null: the run has no such job.
const Job* FindJob(const RunAndJobs& run, std::uint32_t replica_num, std::uint32_t job_num) {
  const Job* newest = nullptr;
  for (const Job& job : run.jobs) {
    if (job.replica_num != replica_num || job.job_num != job_num) continue;
    if (newest == nullptr || job.submission_num > newest->submission_num) newest = &job;
  }
  return newest;
}

template <typename Response>
void AddPoints(std::vector<api::v1::UsagePoint>&& points, Response* response) {
  for (api::v1::UsagePoint& point : points) *response->add_points() = std::move(point);
}

}  // namespace

MetricsService::MetricsService(rpc::Gate& gate,
                               const Access& access,
                               InstanceUseCases& instances,
                               RunStore& runs,
                               UsageStore& usage)
    : gate_(gate), access_(access), instances_(instances), runs_(runs), usage_(usage) {}

grpc::Status MetricsService::GetJobMetrics(grpc::ServerContext* context,
                                           const api::v1::GetJobMetricsRequest* request,
                                           api::v1::GetJobMetricsResponse* response) {
  return gate_.Serve(
      *context, methods::kGetJobMetrics, [&](const rpc::Caller& caller) -> absl::Status {
        ASSIGN_OR_RETURN(const Project project,
                         access_.FindProject(caller, request->project_name()));
        if (request->run_name().empty()) return base::InvalidField("run_name", "must not be empty");
        ASSIGN_OR_RETURN(const RunAndJobs run,
                         runs_.Load(project.id, RunKey{.name = request->run_name(), .id = {}}));
        const Job* job = FindJob(run, request->replica_num(), request->job_num());
        if (job == nullptr) {
          return base::NotFound(
              "JOB_NOT_FOUND",
              "job",
              fmt::format("{} of replica {}", request->job_num(), request->replica_num()));
        }
        response->set_job_submission_id(job->id.str());
        if (job->offer) *response->mutable_resources() = job->offer->resources();
        ASSIGN_OR_RETURN(auto points, usage_.Read(job->id.str(), WindowOf(request->window())));
        AddPoints(std::move(points), response);
        return absl::OkStatus();
      });
}

grpc::Status MetricsService::GetInstanceMetrics(grpc::ServerContext* context,
                                                const api::v1::GetInstanceMetricsRequest* request,
                                                api::v1::GetInstanceMetricsResponse* response) {
  return gate_.Serve(
      *context, methods::kGetInstanceMetrics, [&](const rpc::Caller& caller) -> absl::Status {
        ASSIGN_OR_RETURN(const Project project,
                         access_.FindProject(caller, request->project_name()));
        ASSIGN_OR_RETURN(const Instance instance, instances_.Find(project, request->instance_id()));
        if (instance.resources) *response->mutable_resources() = *instance.resources;
        ASSIGN_OR_RETURN(auto points, usage_.Read(instance.id.str(), WindowOf(request->window())));
        AddPoints(std::move(points), response);
        return absl::OkStatus();
      });
}

}  // namespace dstack::server
