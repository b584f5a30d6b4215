// A project on a server, ready to be called.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include "dstack/api/v1/file_service.grpc.pb.h"
#include "dstack/api/v1/fleet_service.grpc.pb.h"
#include "dstack/api/v1/instance_service.grpc.pb.h"
#include "dstack/api/v1/log_service.grpc.pb.h"
#include "dstack/api/v1/metrics_service.grpc.pb.h"
#include "dstack/api/v1/project_service.grpc.pb.h"
#include "dstack/api/v1/run_service.grpc.pb.h"
#include "dstack/api/v1/server_service.grpc.pb.h"
#include "dstack/api/v1/user_service.grpc.pb.h"

#include "clients/cli/session/environment.h"
#include "clients/cli/session/project_store.h"
#include "libs/base/secret.h"
#include "libs/rpc/status_mapping.h"

namespace dstack::cli {

// Which server, as whom, for what.
struct Target {
  std::string url;
  base::Secret token;
  std::string project;
};

// Finds the target: DSTACK_SERVER_URL and DSTACK_TOKEN win over the project file, --project over
// DSTACK_PROJECT over the default entry. The file is not read when both variables are set. Errors
// say what is missing.
absl::StatusOr<Target> ResolveTarget(const std::string& project_flag,
                                     const Environment& environment,
                                     const ProjectStore& store);

// Thread-safe: stubs and channel are.
class Connection {
 public:
  // INVALID_ARGUMENT for a URL that cannot be read. Does not connect yet.
  static absl::StatusOr<std::unique_ptr<Connection>> Open(Target target);

  const std::string& project() const { return target_.project; }
  const std::string& url() const { return target_.url; }

  // Puts the token on a call.
  void Authorise(grpc::ClientContext& context) const;

  // One call with a deadline. A server that cannot be reached is tried again, up to three times
  // within two seconds: all calls of the API may be repeated (those that write carry a request_id).
  // Errors are those of the server; "cannot connect to URL" where none answered.
  template <typename Response, typename Stub, typename Request>
  absl::StatusOr<Response> Call(Stub& stub,
                                grpc::Status (Stub::*method)(grpc::ClientContext*,
                                                             const Request&,
                                                             Response*),
                                const Request& request,
                                std::chrono::milliseconds timeout = std::chrono::seconds(30)) {
    Response response;
    const absl::Status status = CallWithRetry(
        [&](grpc::ClientContext& context) {
          response.Clear();
          return (stub.*method)(&context, request, &response);
        },
        timeout);
    if (!status.ok()) return status;
    return response;
  }

  api::v1::RunService::Stub& runs() { return *runs_; }
  api::v1::LogService::Stub& logs() { return *logs_; }
  api::v1::FleetService::Stub& fleets() { return *fleets_; }
  api::v1::InstanceService::Stub& instances() { return *instances_; }
  api::v1::MetricsService::Stub& metrics() { return *metrics_; }
  api::v1::FileService::Stub& files() { return *files_; }
  api::v1::ProjectService::Stub& projects() { return *projects_; }
  api::v1::ServerService::Stub& server() { return *server_; }
  api::v1::UserService::Stub& users() { return *users_; }

  // Waits until the server is connected; false when it is not after `timeout`. A connection is made
  // only while somebody waits for it here or in a call.
  bool WaitUntilConnected(std::chrono::milliseconds timeout) const;

  // The status of a finished call, with the URL in the text when no server answered.
  absl::Status FromCall(const grpc::Status& status) const;

 private:
  using Attempt = std::function<grpc::Status(grpc::ClientContext&)>;

  Connection(Target target, const std::shared_ptr<grpc::Channel>& channel);
  absl::Status CallWithRetry(const Attempt& attempt, std::chrono::milliseconds timeout) const;

  Target target_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<api::v1::RunService::Stub> runs_;
  std::unique_ptr<api::v1::LogService::Stub> logs_;
  std::unique_ptr<api::v1::FleetService::Stub> fleets_;
  std::unique_ptr<api::v1::InstanceService::Stub> instances_;
  std::unique_ptr<api::v1::MetricsService::Stub> metrics_;
  std::unique_ptr<api::v1::FileService::Stub> files_;
  std::unique_ptr<api::v1::ProjectService::Stub> projects_;
  std::unique_ptr<api::v1::ServerService::Stub> server_;
  std::unique_ptr<api::v1::UserService::Stub> users_;
};

// True for failures of the way to the server, after which a stream is opened again.
bool IsConnectionLoss(const absl::Status& status);

}  // namespace dstack::cli
