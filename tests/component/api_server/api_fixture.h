#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <catch2/catch.hpp>
#include <grpcpp/grpcpp.h>

#include "dstack/api/v1/file_service.grpc.pb.h"
#include "dstack/api/v1/fleet_service.grpc.pb.h"
#include "dstack/api/v1/instance_service.grpc.pb.h"
#include "dstack/api/v1/log_service.grpc.pb.h"
#include "dstack/api/v1/metrics_service.grpc.pb.h"
#include "dstack/api/v1/project_service.grpc.pb.h"
#include "dstack/api/v1/run_service.grpc.pb.h"
#include "dstack/api/v1/server_service.grpc.pb.h"
#include "dstack/api/v1/user_service.grpc.pb.h"

#include "libs/base/status.h"
#include "libs/db/migrator.h"
#include "libs/rpc/channel.h"
#include "libs/rpc/status_mapping.h"
#include "libs/ssh/keys.h"
#include "libs/testing/await.h"
#include "libs/testing/mini_postgres.h"
#include "services/server/control_plane.h"
#include "services/server/store/migrations.h"

namespace dstack::server {

using namespace std::chrono_literals;

inline constexpr const char* kAdminToken = "admin-token-of-the-tests";

inline std::string NewServerDatabase() {
  return testing::MiniPostgres::Get().NewDatabase("server", [](const std::string& conninfo) {
    return db::Migrate(conninfo, Migrations()).status();
  });
}

inline ControlPlane::Settings TestSettings(const std::string& conninfo) {
  ControlPlane::Settings settings;
  settings.conninfo = conninfo;
  settings.master_key = base::Secret(std::string(32, 'k'));
  settings.admin_token = base::Secret(kAdminToken);
  settings.replica_id = "replica-1";
  return settings;
}

// The whole API on a database of its own, called through a real channel.
class ApiFixture {
 public:
  ApiFixture() : conninfo(NewServerDatabase()) {
    auto started = ControlPlane::Start(TestSettings(conninfo));
    INFO(started.status());
    REQUIRE(started.ok());
    plane = *std::move(started);
    plane->SetReady();
    channel = grpc::CreateChannel(plane->address(), grpc::InsecureChannelCredentials());
    runs = api::v1::RunService::NewStub(channel);
    logs = api::v1::LogService::NewStub(channel);
    fleets = api::v1::FleetService::NewStub(channel);
    instances = api::v1::InstanceService::NewStub(channel);
    metrics = api::v1::MetricsService::NewStub(channel);
    projects = api::v1::ProjectService::NewStub(channel);
    users = api::v1::UserService::NewStub(channel);
    files = api::v1::FileService::NewStub(channel);
    server = api::v1::ServerService::NewStub(channel);
  }

  // One unary call as the owner of `token` (the admin's by default).
  template <typename Stub, typename Request, typename Response>
  absl::StatusOr<Response> Call(std::unique_ptr<Stub>& stub,
                                grpc::Status (Stub::*method)(grpc::ClientContext*,
                                                             const Request&,
                                                             Response*),
                                const Request& request) {
    grpc::ClientContext context;
    Authorise(context);
    Response response;
    const grpc::Status status = ((*stub).*method)(&context, request, &response);
    if (!status.ok()) return rpc::FromGrpc(status);
    return response;
  }

  void Authorise(grpc::ClientContext& context) const {
    rpc::SetToken(context, token);
    rpc::SetTimeout(context, 30s);
  }

  static api::v1::RunSpec Task(const std::string& name) {
    api::v1::RunSpec spec;
    spec.set_run_name(name);
    auto& configuration = *spec.mutable_configuration();
    if (!name.empty()) configuration.set_name(name);
    configuration.set_image("busybox");
    configuration.mutable_task()->add_commands("echo hello");
    return spec;
  }

  absl::StatusOr<api::v1::Run> Apply(const api::v1::RunSpec& spec,
                                     const std::string& request_id = "") {
    api::v1::ApplyRunRequest request;
    request.set_project_name("main");
    *request.mutable_run_spec() = spec;
    request.set_request_id(request_id);
    auto response = Call(runs, &api::v1::RunService::Stub::ApplyRun, request);
    if (!response.ok()) return response.status();
    return response->run();
  }

  api::v1::Run MustApply(const api::v1::RunSpec& spec) {
    auto run = Apply(spec);
    INFO(run.status());
    REQUIRE(run.ok());
    return *std::move(run);
  }

  absl::StatusOr<api::v1::StopRunsResponse> Stop(const std::string& name, bool is_abort = false) {
    api::v1::StopRunsRequest request;
    request.set_project_name("main");
    request.add_run_names(name);
    request.set_is_abort(is_abort);
    return Call(runs, &api::v1::RunService::Stub::StopRuns, request);
  }

  // A user without projects; gives the token.
  std::string NewUser(const std::string& name) {
    api::v1::CreateUserRequest request;
    request.set_user_name(name);
    auto response = Call(users, &api::v1::UserService::Stub::CreateUser, request);
    INFO(response.status());
    REQUIRE(response.ok());
    return response->token();
  }

  static api::v1::FleetSpec SshFleet(const std::string& name,
                                     const std::vector<std::string>& hosts) {
    static const std::string key = ssh::GenerateKeyPair("test")->private_key.Reveal();
    api::v1::FleetSpec spec;
    auto& configuration = *spec.mutable_configuration();
    configuration.set_name(name);
    auto& ssh_config = *configuration.mutable_ssh_config();
    ssh_config.set_user("ubuntu");
    ssh_config.set_identity_file("~/.ssh/id");
    for (const std::string& host : hosts) ssh_config.add_hosts()->set_hostname(host);
    (*spec.mutable_ssh_keys())["~/.ssh/id"] = key;
    return spec;
  }

  absl::StatusOr<api::v1::Fleet> ApplyFleet(const api::v1::FleetSpec& spec,
                                            const std::string& request_id = "") {
    api::v1::ApplyFleetRequest request;
    request.set_project_name("main");
    *request.mutable_fleet_spec() = spec;
    request.set_request_id(request_id);
    request.set_is_forced(true);
    auto response = Call(fleets, &api::v1::FleetService::Stub::ApplyFleet, request);
    if (!response.ok()) return response.status();
    return response->fleet();
  }

  api::v1::Fleet MustApplyFleet(const std::string& name, const std::vector<std::string>& hosts) {
    auto fleet = ApplyFleet(SshFleet(name, hosts));
    INFO(fleet.status());
    REQUIRE(fleet.ok());
    return *std::move(fleet);
  }

  const std::string conninfo;
  std::unique_ptr<ControlPlane> plane;
  std::shared_ptr<grpc::Channel> channel;
  std::string token = kAdminToken;
  std::unique_ptr<api::v1::RunService::Stub> runs;
  std::unique_ptr<api::v1::LogService::Stub> logs;
  std::unique_ptr<api::v1::FleetService::Stub> fleets;
  std::unique_ptr<api::v1::InstanceService::Stub> instances;
  std::unique_ptr<api::v1::MetricsService::Stub> metrics;
  std::unique_ptr<api::v1::ProjectService::Stub> projects;
  std::unique_ptr<api::v1::UserService::Stub> users;
  std::unique_ptr<api::v1::FileService::Stub> files;
  std::unique_ptr<api::v1::ServerService::Stub> server;
};

}  // namespace dstack::server
