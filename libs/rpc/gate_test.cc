#include "libs/rpc/gate.h"

#include <string>

#include <catch2/catch.hpp>
#include <grpcpp/grpcpp.h>

#include "dstack/api/v1/server_service.grpc.pb.h"

#include "libs/base/status.h"
#include "libs/rpc/channel.h"
#include "libs/rpc/status_mapping.h"
#include "libs/testing/log_capture.h"

namespace dstack::rpc {
namespace {

class OneToken final : public Authenticator {
 public:
  absl::StatusOr<Identity> Authenticate(const base::Secret& token) override {
    if (token == base::Secret("good")) return Identity{.user_id = "u1", .user_name = "ann"};
    return base::Error(absl::StatusCode::kUnauthenticated, "INVALID_TOKEN", "the token is unknown");
  }
};

// A service whose only method runs what the test wants.
class Probe final : public api::v1::ServerService::Service {
 public:
  explicit Probe(Gate& gate) : gate_(gate) {}

  grpc::Status GetServerInfo(grpc::ServerContext* context,
                             const api::v1::GetServerInfoRequest*,
                             api::v1::GetServerInfoResponse*) override {
    return gate_.Serve(*context, {.name = "Probe/Get"}, [this](const Caller& caller) {
      last_caller = caller;
      return answer;
    });
  }

  Caller last_caller;
  absl::Status answer;

 private:
  Gate& gate_;
};

class Fixture {
 public:
  Fixture() {
    grpc::ServerBuilder builder;
    builder.RegisterService(&probe);
    server_ = builder.BuildAndStart();
    stub_ = api::v1::ServerService::NewStub(server_->InProcessChannel({}));
  }

  absl::Status Call(const std::string& token, const std::string& request_id = "") {
    grpc::ClientContext context;
    if (!token.empty()) SetToken(context, token);
    if (!request_id.empty()) context.AddMetadata("x-request-id", request_id);
    api::v1::GetServerInfoResponse response;
    const grpc::Status status = stub_->GetServerInfo(&context, {}, &response);
    const auto& metadata = context.GetServerInitialMetadata();
    const auto it = metadata.find("x-request-id");
    returned_id = it == metadata.end() ? "" : std::string(it->second.data(), it->second.size());
    return FromGrpc(status);
  }

  telemetry::Metrics metrics;
  OneToken tokens;
  Gate gate{tokens, metrics};
  Probe probe{gate};
  std::string returned_id;

 private:
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<api::v1::ServerService::Stub> stub_;
};

TEST_CASE("a call without a good token does not reach its handler") {
  Fixture fixture;
  for (const char* token : {"", "bad"}) {
    const absl::Status status = fixture.Call(token);
    CHECK(status.code() == absl::StatusCode::kUnauthenticated);
    CHECK(base::Reason(status) == "INVALID_TOKEN");
  }
  CHECK(fixture.probe.last_caller.request_id.empty());
}

TEST_CASE("the handler learns who calls, and the request id comes back") {
  Fixture fixture;
  REQUIRE(fixture.Call("good", "my-id").ok());
  CHECK(fixture.probe.last_caller.identity.user_name == "ann");
  CHECK(fixture.probe.last_caller.request_id == "my-id");
  CHECK(fixture.returned_id == "my-id");
  REQUIRE(fixture.Call("good", "two words").ok());
  CHECK(fixture.returned_id.size() == 36);
  CHECK(fixture.probe.last_caller.deadline > std::chrono::system_clock::now());
}

TEST_CASE("a handled error keeps its reason, a defect shows its request id only") {
  Fixture fixture;
  fixture.probe.answer = base::NotFound("RUN_NOT_FOUND", "run", "x");
  CHECK(base::Reason(fixture.Call("good")) == "RUN_NOT_FOUND");

  testing::LogCapture log;
  fixture.probe.answer = base::Internal("password of the database is hunter2");
  const absl::Status status = fixture.Call("good", "id-7");
  CHECK(status.code() == absl::StatusCode::kInternal);
  CHECK(base::Reason(status) == "INTERNAL");
  CHECK_THAT(std::string(status.message()), Catch::Contains("id-7") && !Catch::Contains("hunter2"));
  CHECK(log.Contains("hunter2"));
  CHECK(log.Contains("request_id=id-7"));
}

TEST_CASE("calls are counted by method and code") {
  Fixture fixture;
  REQUIRE(fixture.Call("good").ok());
  REQUIRE_FALSE(fixture.Call("").ok());
  const std::string text = fixture.metrics.Render();
  CHECK_THAT(text, Catch::Contains("dstack_server_rpcs_total{code=\"OK\",method=\"Probe/Get\"} 1"));
  CHECK_THAT(text, Catch::Contains("code=\"UNAUTHENTICATED\""));
}

}  // namespace
}  // namespace dstack::rpc
