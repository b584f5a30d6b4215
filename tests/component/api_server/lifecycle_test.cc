#include <thread>

#include "grpc/health/v1/health.grpc.pb.h"

#include "api_fixture.h"
#include "generic_call.h"
#include "libs/base/file.h"
#include "libs/process/subprocess.h"
#include "libs/testing/temp_dir.h"

namespace dstack::server {
namespace {

grpc::health::v1::HealthCheckResponse::ServingStatus Health(ApiFixture& api,
                                                            const std::string& service) {
  auto stub = grpc::health::v1::Health::NewStub(api.channel);
  grpc::ClientContext context;
  grpc::health::v1::HealthCheckRequest request;
  request.set_service(service);
  grpc::health::v1::HealthCheckResponse response;
  if (!stub->Check(&context, request, &response).ok())
    return grpc::health::v1::HealthCheckResponse::UNKNOWN;
  return response.status();
}

TEST_CASE("health is known for each service") {
  ApiFixture api;
  CHECK(Health(api, "") == grpc::health::v1::HealthCheckResponse::SERVING);
  CHECK(Health(api, "dstack.api.v1.RunService") == grpc::health::v1::HealthCheckResponse::SERVING);
}

TEST_CASE("reflection lists every service without a token") {
  ApiFixture api;
  CHECK(ReflectedServices(api.channel).size() == 8);
}

TEST_CASE("TLS serves the same API, and plaintext is not taken for it") {
  testing::TempDir dir;
  const auto made = process::RunChecked({"openssl",
                                         "req",
                                         "-x509",
                                         "-newkey",
                                         "ec",
                                         "-pkeyopt",
                                         "ec_paramgen_curve:prime256v1",
                                         "-nodes",
                                         "-keyout",
                                         dir.Path("key.pem"),
                                         "-out",
                                         dir.Path("cert.pem"),
                                         "-days",
                                         "2",
                                         "-subj",
                                         "/CN=localhost"},
                                        20s);
  REQUIRE(made.ok());
  auto settings = TestSettings(NewServerDatabase());
  settings.tls_certificate_file = dir.Path("cert.pem");
  settings.tls_key_file = dir.Path("key.pem");
  auto plane = ControlPlane::Start(settings);
  INFO(plane.status());
  REQUIRE(plane.ok());
  CHECK_THAT((*plane)->url(), Catch::StartsWith("https://"));

  grpc::SslCredentialsOptions roots;
  roots.pem_root_certs = *base::ReadFile(dir.Path("cert.pem"));
  grpc::ChannelArguments arguments;
  arguments.SetSslTargetNameOverride("localhost");
  const std::string& address = (*plane)->address();
  auto secure = api::v1::ServerService::NewStub(
      grpc::CreateCustomChannel(address, grpc::SslCredentials(roots), arguments));
  auto plain = api::v1::ServerService::NewStub(
      grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
  api::v1::GetServerInfoResponse response;
  grpc::ClientContext first;
  CHECK(secure->GetServerInfo(&first, {}, &response).ok());
  grpc::ClientContext second;
  CHECK(plain->GetServerInfo(&second, {}, &response).error_code() == grpc::StatusCode::UNAVAILABLE);
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
