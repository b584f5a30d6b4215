#include <thread>

#include "api_fixture.h"
#include "grpc/health/v1/health.grpc.pb.h"

namespace dstack::server {
namespace {

grpc::health::v1::HealthCheckResponse::ServingStatus Health(ApiFixture& api, const std::string& service) {
  auto stub = grpc::health::v1::Health::NewStub(api.channel);
  grpc::ClientContext context;
  grpc::health::v1::HealthCheckRequest request;
  request.set_service(service);
  grpc::health::v1::HealthCheckResponse response;
  if (!stub->Check(&context, request, &response).ok()) return grpc::health::v1::HealthCheckResponse::UNKNOWN;
  return response.status();
}

TEST_CASE("health is known for each service") {
  ApiFixture api;
  CHECK(Health(api, "") == grpc::health::v1::HealthCheckResponse::SERVING);
  CHECK(Health(api, "dstack.api.v1.RunService") == grpc::health::v1::HealthCheckResponse::SERVING);
}

TEST_CASE("a second start finds users, projects and runs again, two at once agree") {
  ApiFixture api;
  api.MustApplyFleet("pool", {"host-1"});
  const auto run = api.MustApply(ApiFixture::Task("work"));
  auto settings = TestSettings(api.conninfo);
  settings.replica_id = "replica-2";
  auto second = ControlPlane::Start(settings);
  INFO(second.status());
  REQUIRE(second.ok());
  CHECK((*second)->server_id() == api.plane->server_id());
  api.runs = api::v1::RunService::NewStub(
      grpc::CreateChannel((*second)->address(), grpc::InsecureChannelCredentials()));
  api::v1::GetRunRequest request;
  request.set_project_name("main");
  request.set_run_name("work");
  auto found = api.Call(api.runs, &api::v1::RunService::Stub::GetRun, request);
  REQUIRE(found.ok());
  CHECK(found->run().id() == run.id());
}

TEST_CASE("a stop ends streams with a clear word and does not wait for them") {
  ApiFixture api;
  api.MustApplyFleet("pool", {"host-1"});
  api.MustApply(ApiFixture::Task("work"));
  grpc::ClientContext context;
  api.Authorise(context);
  api::v1::WatchRunRequest request;
  request.set_project_name("main");
  request.set_run_name("work");
  auto reader = api.runs->WatchRun(&context, request);
  api::v1::WatchRunResponse response;
  REQUIRE(reader->Read(&response));
  const auto began = std::chrono::steady_clock::now();
  api.plane->StopServing(5s);
  CHECK(std::chrono::steady_clock::now() - began < 4s);
  CHECK_FALSE(reader->Read(&response));
  const absl::Status status = rpc::FromGrpc(reader->Finish());
  CHECK(status.code() == absl::StatusCode::kUnavailable);
  CHECK(base::Reason(status) == "SHUTTING_DOWN");
  CHECK(api.Apply(ApiFixture::Task("late")).status().code() == absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace dstack::server
