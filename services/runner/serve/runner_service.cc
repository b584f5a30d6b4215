#include "services/runner/serve/runner_service.h"

#include <functional>
#include <string_view>
#include <utility>

#include "libs/base/macros.h"
#include "libs/base/status.h"
#include "libs/rpc/status_mapping.h"
#include "services/runner/serve/grpc_session.h"

namespace dstack::runner {
namespace {

constexpr std::string_view kScheme = "Bearer ";

// Ends a stream that was not let in.
class RefusedSession final
    : public grpc::ServerBidiReactor<v1::SessionRequest, v1::SessionResponse> {
 public:
  explicit RefusedSession(const absl::Status& status) { Finish(rpc::ToGrpc(status)); }
  void OnDone() override { delete this; }
};

}  // namespace

RunnerService::RunnerService(EventLoop& loop, ServeCore& core, base::Secret token)
    : loop_(loop), core_(core), token_(std::move(token)) {}

absl::Status RunnerService::Authenticate(const grpc::CallbackServerContext& context) const {
  const auto& metadata = context.client_metadata();
  const auto found = metadata.find("authorization");
  if (found != metadata.end()) {
    const std::string_view value(found->second.data(), found->second.size());
    // The comparison takes the same time wherever the two differ.
    if (value.starts_with(kScheme) &&
        base::Secret(std::string(value.substr(kScheme.size()))) == token_) {
      return absl::OkStatus();
    }
  }
  return base::Error(absl::StatusCode::kUnauthenticated,
                     "INVALID_TOKEN",
                     "metadata authorization must be \"Bearer <token of the task>\"");
}

grpc::ServerBidiReactor<v1::SessionRequest, v1::SessionResponse>* RunnerService::Session(
    grpc::CallbackServerContext* context) {
  if (const absl::Status status = Authenticate(*context); !status.ok()) {
    return new RefusedSession(status);
  }
  return GrpcSession::Start(loop_, core_);
}

grpc::ServerUnaryReactor* RunnerService::OnLoop(grpc::CallbackServerContext* context,
                                                std::function<absl::Status()> work) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  absl::Status status = Authenticate(*context);
  if (status.ok()) {
    const bool is_posted =
        loop_.Post([reactor, work = std::move(work)] { reactor->Finish(rpc::ToGrpc(work())); });
    if (is_posted) return reactor;
    status = base::Error(absl::StatusCode::kUnavailable, "SHUTTING_DOWN", "the runner is stopping");
  }
  reactor->Finish(rpc::ToGrpc(status));
  return reactor;
}

grpc::ServerUnaryReactor* RunnerService::GetJob(grpc::CallbackServerContext* context,
                                                const v1::GetJobRequest* /*request*/,
                                                v1::GetJobResponse* response) {
  return OnLoop(context, [this, response] {
    *response = core_.GetJob();
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* RunnerService::TailLogs(grpc::CallbackServerContext* context,
                                                  const v1::TailLogsRequest* request,
                                                  v1::TailLogsResponse* response) {
  return OnLoop(context, [this, request, response]() -> absl::Status {
    ASSIGN_OR_RETURN(*response, core_.TailLogs(request->source()));
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* RunnerService::StopJob(grpc::CallbackServerContext* context,
                                                 const v1::StopJobRequest* request,
                                                 v1::StopJobResponse* response) {
  return OnLoop(context, [this, request, response] {
    *response = core_.StopJob(*request);
    return absl::OkStatus();
  });
}

}  // namespace dstack::runner
