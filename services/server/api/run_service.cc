#include "services/server/api/run_service.h"

#include <string>
#include <utility>

#include "libs/base/status.h"
#include "services/server/api/convert.h"
#include "services/server/api/methods.h"
#include "services/server/usecases/request_digest.h"

namespace dstack::server {
namespace {

constexpr std::uint32_t kRunsPageSize = 100;
constexpr std::uint32_t kDefaultOffers = 50;
constexpr std::uint32_t kMaxOffers = 1000;
// The newest version replaces one that waits: a second slot would only make watchers see old
// states.
constexpr std::size_t kWatchQueue = 1;

// Which run a request means: name or id, exactly one.
template <typename Request>
absl::StatusOr<RunKey> KeyOf(const Request& request) {
  if (!request.run_name().empty()) return RunKey{.name = request.run_name(), .id = ""};
  if (request.run_id().empty())
    return base::InvalidField("run_name", "run_name or run_id must be set");
  if (!base::IsUuid(request.run_id()))
    return base::NotFound("RUN_NOT_FOUND", "run", request.run_id());
  return RunKey{.name = "", .id = request.run_id()};
}

std::vector<std::string> ToVector(const google::protobuf::RepeatedPtrField<std::string>& names) {
  return {names.begin(), names.end()};
}

OfferExtent ExtentOf(api::v1::OfferExtent extent) {
  switch (extent) {
    case api::v1::OFFER_EXTENT_WHOLE:
      return OfferExtent::kWhole;
    case api::v1::OFFER_EXTENT_FREE:
      return OfferExtent::kFree;
    default:
      return OfferExtent::kRequested;
  }
}

}  // namespace

RunService::RunService(const WatchCall::Services& streams,
                       const Access& access,
                       RunUseCases& use_cases,
                       RunStore& runs,
                       WatchHub& watch_hub,
                       const base::Clock& clock,
                       HostKeyOf host_key_of)
    : streams_(streams),
      access_(access),
      use_cases_(use_cases),
      runs_(runs),
      watch_hub_(watch_hub),
      clock_(clock),
      host_key_of_(std::move(host_key_of)) {}

grpc::Status RunService::PlanRun(grpc::ServerContext* context,
                                 const api::v1::PlanRunRequest* request,
                                 api::v1::PlanRunResponse* response) {
  return streams_.gate.Serve(
      *context, methods::kPlanRun, [&](const rpc::Caller& caller) -> absl::Status {
        ASSIGN_OR_RETURN(const Project project,
                         access_.FindProject(caller, request->project_name()));
        MatchOptions options;
        options.max_offers = PageSize(request->max_offers(), kDefaultOffers, kMaxOffers);
        options.extent = ExtentOf(request->offer_extent());
        ASSIGN_OR_RETURN(const RunProposal proposal,
                         use_cases_.Plan(caller, project, request->run_spec(), options));
        *response->mutable_plan() = ToProto(proposal, project, caller.identity.user_name, View());
        return absl::OkStatus();
      });
}

grpc::Status RunService::ApplyRun(grpc::ServerContext* context,
                                  const api::v1::ApplyRunRequest* request,
                                  api::v1::ApplyRunResponse* response) {
  return streams_.gate.Serve(
      *context, methods::kApplyRun, [&](const rpc::Caller& caller) -> absl::Status {
        ASSIGN_OR_RETURN(const Project project,
                         access_.FindProject(caller, request->project_name()));
        RunUseCases::Application application;
        application.spec = request->run_spec();
        application.request_id = request->request_id();
        application.request_digest = RequestDigest(*request);
        application.current_run_id = request->current_run_id();
        application.current_run_version = request->current_run_version();
        application.is_forced = request->is_forced();
        ASSIGN_OR_RETURN(const RunAndJobs run, use_cases_.Apply(caller, project, application));
        *response->mutable_run() = ToProto(run, View());
        return absl::OkStatus();
      });
}

grpc::Status RunService::GetRun(grpc::ServerContext* context,
                                const api::v1::GetRunRequest* request,
                                api::v1::GetRunResponse* response) {
  return streams_.gate.Serve(
      *context, methods::kGetRun, [&](const rpc::Caller& caller) -> absl::Status {
        ASSIGN_OR_RETURN(const Project project,
                         access_.FindProject(caller, request->project_name()));
        ASSIGN_OR_RETURN(const RunKey key, KeyOf(*request));
        ASSIGN_OR_RETURN(const RunAndJobs run, runs_.Load(project.id, key));
        *response->mutable_run() = ToProto(run, View());
        return absl::OkStatus();
      });
}

grpc::Status RunService::ListRuns(grpc::ServerContext* context,
                                  const api::v1::ListRunsRequest* request,
                                  api::v1::ListRunsResponse* response) {
  return streams_.gate.Serve(
      *context, methods::kListRuns, [&](const rpc::Caller& caller) -> absl::Status {
        ASSIGN_OR_RETURN(const Project project,
                         access_.FindProject(caller, request->project_name()));
        RunFilter filter;
        filter.project_id = project.id;
        filter.only_active = request->only_active();
        filter.user_name = request->user_name();
        filter.page_size = PageSize(request->page_size(), kRunsPageSize, kRunsPageSize);
        filter.page_token = request->page_token();
        ASSIGN_OR_RETURN(const RunPage page, runs_.List(filter));
        const RunView view = View();
        for (const RunAndJobs& run : page.runs) *response->add_runs() = ToProto(run, view);
        response->set_next_page_token(page.next_page_token);
        return absl::OkStatus();
      });
}

grpc::Status RunService::StopRuns(grpc::ServerContext* context,
                                  const api::v1::StopRunsRequest* request,
                                  api::v1::StopRunsResponse* response) {
  return streams_.gate.Serve(
      *context, methods::kStopRuns, [&](const rpc::Caller& caller) -> absl::Status {
        ASSIGN_OR_RETURN(const Project project,
                         access_.FindProject(caller, request->project_name()));
        // Stopping twice is stopping once, so the id has nothing to protect; a wrong one is still
        // told.
        RETURN_IF_ERROR(CheckRequestId(request->request_id()));
        ASSIGN_OR_RETURN(
            const auto runs,
            use_cases_.Stop(project, ToVector(request->run_names()), request->is_abort()));
        const RunView view = View();
        for (const RunAndJobs& run : runs) *response->add_runs() = ToProto(run, view);
        return absl::OkStatus();
      });
}

grpc::Status RunService::DeleteRuns(grpc::ServerContext* context,
                                    const api::v1::DeleteRunsRequest* request,
                                    api::v1::DeleteRunsResponse*) {
  return streams_.gate.Serve(
      *context, methods::kDeleteRuns, [&](const rpc::Caller& caller) -> absl::Status {
        ASSIGN_OR_RETURN(const Project project,
                         access_.FindProject(caller, request->project_name()));
        return use_cases_.Delete(project, ToVector(request->run_names()), request->allow_missing());
      });
}

grpc::ServerWriteReactor<api::v1::WatchRunResponse>* RunService::WatchRun(
    grpc::CallbackServerContext* context, const api::v1::WatchRunRequest* request) {
  return WatchCall::Begin(streams_,
                          *context,
                          methods::kWatchRun,
                          kWatchQueue,
                          [this, copy = *request](const std::shared_ptr<WatchCall>& call) {
                            const absl::Status status = StartWatch(call, copy);
                            if (!status.ok()) call->Finish(status);
                          });
}

absl::Status RunService::StartWatch(const std::shared_ptr<WatchCall>& call,
                                    const api::v1::WatchRunRequest& request) {
  ASSIGN_OR_RETURN(const Project project,
                   access_.FindProject(call->caller(), request.project_name()));
  ASSIGN_OR_RETURN(const RunKey key, KeyOf(request));
  ASSIGN_OR_RETURN(const RunAndJobs run, runs_.Load(project.id, key));
  RunWatch::Start(call, watch_hub_, clock_, host_key_of_, run.run.id, request.after_version());
  return absl::OkStatus();
}

}  // namespace dstack::server
