#include "clients/cli/session/connection.h"

#include <thread>
#include <utility>

#include <fmt/format.h>

#include "libs/base/macros.h"
#include "libs/base/status.h"
#include "libs/base/version.h"
#include "libs/rpc/channel.h"

namespace dstack::cli {
namespace {

absl::Status MissingProject() {
  return absl::InvalidArgumentError(
      "No project is chosen: use --project, set DSTACK_PROJECT, or add one with `dstack project "
      "add`");
}

absl::StatusOr<Target> FromEntry(const config::v1::ClientProject& entry,
                                 const std::optional<std::string>& url,
                                 const std::optional<std::string>& token) {
  return Target{
      url.value_or(entry.url()), base::Secret(token.value_or(entry.token())), entry.name()};
}

}  // namespace

absl::StatusOr<Target> ResolveTarget(const std::string& project_flag,
                                     const Environment& environment,
                                     const ProjectStore& store) {
  const auto url = environment.Get("DSTACK_SERVER_URL");
  const auto token = environment.Get("DSTACK_TOKEN");
  const std::string project =
      project_flag.empty() ? environment.Get("DSTACK_PROJECT").value_or("") : project_flag;
  if (url.has_value() && token.has_value()) {
    if (project.empty()) {
      return absl::InvalidArgumentError(
          "DSTACK_SERVER_URL and DSTACK_TOKEN are set, but no project: use --project or set "
          "DSTACK_PROJECT");
    }
    return Target{*url, base::Secret(*token), project};
  }
  ASSIGN_OR_RETURN(const config::v1::ClientConfig config, store.Load());
  if (project.empty()) {
    const config::v1::ClientProject* entry = DefaultProject(config);
    if (entry == nullptr) return MissingProject();
    return FromEntry(*entry, url, token);
  }
  const config::v1::ClientProject* entry = FindProject(config, project);
  if (entry == nullptr) {
    return absl::NotFoundError(
        fmt::format("Project {} is not configured: add it with `dstack project add`", project));
  }
  return FromEntry(*entry, url, token);
}

Connection::Connection(Target target, const std::shared_ptr<grpc::Channel>& channel)
    : target_(std::move(target)),
      channel_(channel),
      runs_(api::v1::RunService::NewStub(channel)),
      logs_(api::v1::LogService::NewStub(channel)),
      fleets_(api::v1::FleetService::NewStub(channel)),
      instances_(api::v1::InstanceService::NewStub(channel)),
      metrics_(api::v1::MetricsService::NewStub(channel)),
      files_(api::v1::FileService::NewStub(channel)),
      projects_(api::v1::ProjectService::NewStub(channel)),
      server_(api::v1::ServerService::NewStub(channel)),
      users_(api::v1::UserService::NewStub(channel)) {}

absl::StatusOr<std::unique_ptr<Connection>> Connection::Open(Target target) {
  const std::string agent = fmt::format("dstack-cli/{}", base::Version());
  ASSIGN_OR_RETURN(const std::shared_ptr<grpc::Channel> channel,
                   rpc::Dial(target.url, {.user_agent = agent}));
  return std::unique_ptr<Connection>(new Connection(std::move(target), channel));
}

void Connection::Authorise(grpc::ClientContext& context) const {
  rpc::SetToken(context, target_.token.Reveal());
}

bool Connection::WaitUntilConnected(std::chrono::milliseconds timeout) const {
  return channel_->WaitForConnected(std::chrono::system_clock::now() + timeout);
}

absl::Status Connection::FromCall(const grpc::Status& status) const {
  absl::Status mapped = rpc::FromGrpc(status);
  // A server that answers gives a reason; without one the text is about the connection.
  if (!absl::IsUnavailable(mapped) || !base::Reason(mapped).empty()) return mapped;
  return absl::UnavailableError(
      fmt::format("Cannot connect to {}: {}", target_.url, base::Message(mapped)));
}

absl::Status Connection::CallWithRetry(const Attempt& attempt,
                                       std::chrono::milliseconds timeout) const {
  using std::chrono::milliseconds;
  constexpr milliseconds kDelays[] = {milliseconds(200), milliseconds(600), milliseconds(1200)};
  size_t failures = 0;
  while (true) {
    grpc::ClientContext context;
    Authorise(context);
    rpc::SetTimeout(context, timeout);
    absl::Status status = FromCall(attempt(context));
    if (!absl::IsUnavailable(status) || failures == std::size(kDelays)) return status;
    const milliseconds pause = kDelays[failures++];
    // One that is connected and fails gets the whole pause.
    if (WaitUntilConnected(milliseconds(0))) {
      std::this_thread::sleep_for(pause);
    } else {
      WaitUntilConnected(pause);
    }
  }
}

bool IsConnectionLoss(const absl::Status& status) {
  // With a reason the server itself has spoken.
  if (!base::Reason(status).empty()) return base::IsTransient(status);
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kResourceExhausted:
    // A server that is killed or drains, and proxies on the way, reset streams with these.
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kInternal:
    case absl::StatusCode::kUnknown:
      return true;
    default:
      return false;
  }
}

}  // namespace dstack::cli
