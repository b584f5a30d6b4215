#include <chrono>
#include <string>

#include <catch2/catch.hpp>
#include <sys/stat.h>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/testing/await.h"
#include "tests/component/runner_agent/fixture.h"

namespace dstack::runner {
namespace {

using common::v1::LOG_SOURCE_JOB;
using common::v1::LOG_SOURCE_RUNNER;
using namespace std::chrono_literals;

std::unique_ptr<v1::RunnerService::Stub> Connect(const RunnerProcess& runner) {
  return v1::RunnerService::NewStub(
      grpc::CreateChannel(runner.Target(), grpc::InsecureChannelCredentials()));
}

TEST_CASE("calls without the token are refused") {
  Fixture f;
  f.runner.Start();
  const auto stub = Connect(f.runner);
  for (const std::string header : {"", "Bearer wrong", "kkkkkkkk"}) {
    grpc::ClientContext context;
    context.set_wait_for_ready(true);
    if (!header.empty()) context.AddMetadata("authorization", header);
    v1::GetJobResponse response;
    const grpc::Status status = stub->GetJob(&context, {}, &response);
    CHECK(status.error_code() == grpc::StatusCode::UNAUTHENTICATED);
    CHECK(status.error_details().find("INVALID_TOKEN") != std::string::npos);
  }
  f.client.emplace(f.runner.Target(), "not-the-token", f.store);
  CHECK(f.client->AwaitClosed().error_code() == grpc::StatusCode::UNAUTHENTICATED);
}

TEST_CASE("the socket belongs to its owner alone") {
  Fixture f;
  f.runner.Start();
  struct stat info {};
  REQUIRE(stat(f.runner.Path("runner.sock").c_str(), &info) == 0);
  CHECK((info.st_mode & 0777) == 0600);
}

TEST_CASE("the socket can be given to the login user of the host") {
  if (geteuid() != 0) return testing::Skip("kernel: not root");
  Fixture f({"--socket-owner", "65534:65534"});
  f.runner.Start();
  struct stat info {};
  testing::Await(10s, [&] {
    return stat(f.runner.Path("runner.sock").c_str(), &info) == 0 && info.st_uid == 65534;
  });
  CHECK(info.st_gid == 65534);
  CHECK((info.st_mode & 0777) == 0660);
}

TEST_CASE("W3 a newer session replaces the older one, an older epoch is refused") {
  Fixture f;
  f.Run(MakeShellJob("cat"));
  f.client->AwaitState(v1::JOB_STATE_RUNNING);
  ServerStore other_store;
  SessionClient newer(f.runner.Target(), f.runner.token(), other_store, {.epoch = 5});
  CHECK(newer.AwaitHello().state() == v1::JOB_STATE_RUNNING);
  const grpc::Status replaced = f.client->AwaitClosed();
  CHECK(replaced.error_code() == grpc::StatusCode::ABORTED);
  CHECK(replaced.error_details().find("LEASE_LOST") != std::string::npos);

  // The epoch is known to the next process too.
  const pid_t serve = f.runner.ServePid();
  f.runner.KillServe();
  f.runner.ServePid(serve);
  CHECK(newer.AwaitClosed().error_code() == grpc::StatusCode::UNAVAILABLE);
  ServerStore stale_store;
  SessionClient stale(f.runner.Target(), f.runner.token(), stale_store, {.epoch = 4});
  const grpc::Status refused = stale.AwaitClosed();
  CHECK(refused.error_code() == grpc::StatusCode::FAILED_PRECONDITION);
  CHECK(refused.error_details().find("STALE_EPOCH") != std::string::npos);
}

TEST_CASE("a session begins with the hello") {
  Fixture f;
  f.runner.Start();
  const auto stub = Connect(f.runner);
  grpc::ClientContext context;
  context.set_wait_for_ready(true);
  context.AddMetadata("authorization", "Bearer " + f.runner.token());
  const auto stream = stub->Session(&context);
  v1::SessionRequest request;
  request.mutable_start_job();
  stream->Write(request);
  v1::SessionResponse response;
  CHECK_FALSE(stream->Read(&response));
  CHECK(stream->Finish().error_code() == grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_CASE("a session resumes behind what the server has") {
  Fixture f;
  f.Run(MakeShellJob("for i in 1 2 3; do echo line $i; sleep 0.05; done; cat"));
  f.client->AwaitText(LOG_SOURCE_JOB, "line 3\n");
  f.client.reset();
  f.client.emplace(f.runner.Target(), f.runner.token(), f.store);
  CHECK(f.client->AwaitHello().state() == v1::JOB_STATE_RUNNING);
  f.client->StopJob(0);
  f.Finish();
  CHECK(f.store.text[LOG_SOURCE_JOB] == "line 1\nline 2\nline 3\n");
}

TEST_CASE("W2 the end must be acknowledged after it was sent") {
  Fixture f;
  f.Run(MakeShellJob("cat"));
  f.client->AwaitState(v1::JOB_STATE_RUNNING);
  f.client->AckEnd();
  CHECK(f.client->AwaitRefused().reason() == "INVALID_STATE");
  f.client->StopJob(0);
  f.Finish();
}

TEST_CASE("W3 readers beside the session take nothing from it") {
  Fixture f;
  f.Run(MakeShellJob("echo visible; cat"));
  f.client->AwaitText(LOG_SOURCE_JOB, "visible");
  const auto stub = Connect(f.runner);
  const auto prepare = [&](grpc::ClientContext* context) {
    context->AddMetadata("authorization", "Bearer " + f.runner.token());
    context->set_wait_for_ready(true);
  };
  const v1::GetJobResponse job = GetJob(f.runner.Target(), f.runner.token());
  CHECK(job.job_status().state() == v1::JOB_STATE_RUNNING);
  REQUIRE(job.written_size() == 2);
  CHECK(job.written(1).source() == LOG_SOURCE_JOB);
  CHECK(job.written(1).sequence() >= 1);

  grpc::ClientContext tail_context;
  prepare(&tail_context);
  v1::TailLogsResponse tail;
  REQUIRE(stub->TailLogs(&tail_context, {}, &tail).ok());
  CHECK(tail.batch().records(0).data() == "visible\n");

  grpc::ClientContext stop_context;
  prepare(&stop_context);
  v1::StopJobRequest stop;
  stop.mutable_grace()->set_seconds(0);
  v1::StopJobResponse stopped;
  REQUIRE(stub->StopJob(&stop_context, stop, &stopped).ok());
  f.Finish();
}

}  // namespace
}  // namespace dstack::runner
