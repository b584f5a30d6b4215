// Calls for people, as grpcurl makes them, and the drain.
#include <chrono>
#include <optional>
#include <string>

#include <catch2/catch.hpp>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include "libs/base/status.h"
#include "libs/base/version.h"
#include "libs/rpc/status_mapping.h"
#include "tests/component/runner_agent/session_client.h"
#include "tests/component/shim_agent/shim_client.h"
#include "tests/component/shim_agent/shim_process.h"

namespace dstack::shim {
namespace {

constexpr char kNobody[] = "66a886db-86db-4cf9-8c06-8984ad15dde2";

struct Fixture {
  Fixture() : shim({.runtime = "process"}) {
    shim.Start();
    client.emplace(shim.Target());
  }
  ~Fixture() {
    for (const std::string& task_id : tasks) CHECK(ForceRemove(task_id).ok());
    client.reset();
  }

  v1::TaskSpec Submit() {
    v1::TaskSpec task = MakeTask("");
    task.set_network_mode(v1::NETWORK_MODE_HOST);
    task.mutable_registry_auth()->set_username("somebody");
    task.mutable_registry_auth()->set_password("pAsSwOrD");
    client->Submit(task);
    tasks.push_back(task.task_id());
    return task;
  }
  void RunJob(const v1::TaskSpec& task, const std::string& script, const std::string& word) {
    const auto running = client->AwaitState(task.task_id(), v1::TASK_STATE_RUNNING);
    runner::ServerStore store;
    runner::SessionClient session(
        "unix:" + running.runner_socket(), task.runner_token(), store, {.acknowledges = false});
    session.Submit(runner::MakeShellJob(script));
    session.AwaitFilesNeeded();
    session.StartJob();
    session.AwaitText(common::v1::LOG_SOURCE_JOB, word);
  }
  absl::Status ForceRemove(const std::string& task_id) {
    v1::RemoveTaskRequest request;
    request.set_task_id(task_id);
    request.set_is_forced(true);
    return Call(&v1::ShimService::Stub::RemoveTask, request, &removed);
  }
  // One unary call with the generated client.
  template <typename Request, typename Response>
  absl::Status Call(grpc::Status (v1::ShimService::Stub::*method)(grpc::ClientContext*,
                                                                  const Request&,
                                                                  Response*),
                    const Request& request,
                    Response* response) {
    grpc::ClientContext context;
    return rpc::FromGrpc((client->stub().*method)(&context, request, response));
  }

  ShimProcess shim;
  std::optional<ShimClient> client;
  std::vector<std::string> tasks;
  v1::RemoveTaskResponse removed;
};

TEST_CASE("inspect shows record and container, and no secret") {
  Fixture f;
  const v1::TaskSpec task = f.Submit();
  f.client->AwaitState(task.task_id(), v1::TASK_STATE_RUNNING);
  v1::TerminateTaskRequest terminate;
  terminate.set_task_id(task.task_id());
  terminate.mutable_stop_policy()->mutable_grace()->set_seconds(600);
  v1::TerminateTaskResponse terminated;
  REQUIRE(f.Call(&v1::ShimService::Stub::TerminateTask, terminate, &terminated).ok());
  v1::InspectTaskRequest request;
  request.set_task_id(task.task_id());
  v1::InspectTaskResponse response;
  REQUIRE(f.Call(&v1::ShimService::Stub::InspectTask, request, &response).ok());
  CHECK(response.task().task_id() == task.task_id());
  CHECK(response.spec().name() == task.name());
  CHECK(response.spec().registry_auth().username() == "somebody");
  CHECK(response.was_started());
  CHECK_FALSE(response.is_removing());
  CHECK(response.stop().message() == "ended by hand");
  CHECK(response.stop().grace().seconds() == 600);
  CHECK(response.container_json().find("\"pid\"") != std::string::npos);
  const std::string all = response.DebugString();
  CHECK(all.find("pAsSwOrD") == std::string::npos);
  CHECK(all.find(task.runner_token()) == std::string::npos);
}

TEST_CASE("the end of a task's output is shown and the server gets all of it all the same") {
  Fixture f;
  const v1::TaskSpec task = f.Submit();
  f.RunJob(task, "echo first; echo last; sleep 600", "last");
  v1::TailTaskLogRequest request;
  request.set_task_id(task.task_id());
  v1::TailTaskLogResponse response;
  REQUIRE(f.Call(&v1::ShimService::Stub::TailTaskLog, request, &response).ok());
  std::string text;
  for (const auto& record : response.records()) text += record.data();
  CHECK(text.find("last") != std::string::npos);
  request.set_source(common::v1::LOG_SOURCE_RUNNER);
  response.Clear();
  // The runner has nothing to say while all is well.
  CHECK(f.Call(&v1::ShimService::Stub::TailTaskLog, request, &response).ok());
  request.set_max_bytes(2U << 20);
  CHECK(base::Reason(f.Call(&v1::ShimService::Stub::TailTaskLog, request, &response)) ==
        "INVALID_FIELDS");
}

TEST_CASE("a forced removal ends and removes at once") {
  Fixture f;
  const v1::TaskSpec task = f.Submit();
  f.RunJob(task, "trap '' TERM; echo ready; sleep 600", "ready");
  CHECK(f.ForceRemove(task.task_id()).ok());
  f.client->AwaitRemoved(task.task_id());
  CHECK(f.ForceRemove(task.task_id()).ok());
  f.tasks.clear();
}

// What reflection answers when it is asked for the file with this symbol.
std::string ReflectedFile(const ShimProcess& shim, const std::string& symbol) {
  grpc::GenericStub stub(grpc::CreateChannel(shim.Target(), grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  int tag = 0;
  const auto next = [&] {
    void* done = nullptr;
    bool is_ok = false;
    return queue.Next(&done, &is_ok) && is_ok;
  };
  auto call = stub.PrepareCall(
      &context, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", &queue);
  call->StartCall(&tag);
  REQUIRE(next());
  // ServerReflectionRequest{file_containing_symbol}; the distribution ships no header for it.
  const grpc::Slice request(std::string("\x22") + static_cast<char>(symbol.size()) + symbol);
  call->WriteLast(grpc::ByteBuffer(&request, 1), grpc::WriteOptions(), &tag);
  REQUIRE(next());
  grpc::ByteBuffer answer;
  call->Read(&answer, &tag);
  REQUIRE(next());
  context.TryCancel();
  grpc::Status status;
  call->Finish(&status, &tag);
  next();
  grpc::Slice joined;
  REQUIRE(answer.DumpToSingleSlice(&joined).ok());
  return {reinterpret_cast<const char*>(joined.begin()), joined.size()};
}

TEST_CASE("reflection describes every call for people, so that grpcurl needs no files") {
  Fixture f;
  const std::string file = ReflectedFile(f.shim, "dstack.shim.v1.ShimService");
  for (const char* call : {"ListTasks",
                           "InspectTask",
                           "TailTaskLog",
                           "GetPullLog",
                           "RemoveTask",
                           "DumpLedger",
                           "RefreshHost",
                           "GetHost",
                           "SetDrain"}) {
    INFO(call);
    CHECK(file.find(call) != std::string::npos);
  }
}

TEST_CASE("S1 the host is served by name, with the version that it was built as") {
  Fixture f;
  v1::GetHostResponse host;
  REQUIRE(f.Call(&v1::ShimService::Stub::GetHost, v1::GetHostRequest(), &host).ok());
  CHECK(host.shim_id() == f.shim.shim_id());
  CHECK(host.facts().shim_version() == base::Version());
}

TEST_CASE("facts, ledger and pull log answer") {
  Fixture f;
  const v1::TaskSpec task = f.Submit();
  f.client->AwaitState(task.task_id(), v1::TASK_STATE_RUNNING);
  v1::RefreshHostResponse host;
  REQUIRE(f.Call(&v1::ShimService::Stub::RefreshHost, v1::RefreshHostRequest(), &host).ok());
  CHECK(host.facts().resources().cpus() > 0);
  v1::DumpLedgerResponse ledger;
  REQUIRE(f.Call(&v1::ShimService::Stub::DumpLedger, v1::DumpLedgerRequest(), &ledger).ok());
  CHECK(ledger.entries_size() == host.facts().resources().gpus_size());
  v1::GetPullLogRequest request;
  request.set_task_id(task.task_id());
  v1::GetPullLogResponse log;
  REQUIRE(f.Call(&v1::ShimService::Stub::GetPullLog, request, &log).ok());
  CHECK(log.data().empty());
}

TEST_CASE("calls about unknown tasks say so") {
  Fixture f;
  v1::InspectTaskRequest inspect;
  inspect.set_task_id(kNobody);
  v1::InspectTaskResponse inspected;
  CHECK(base::Reason(f.Call(&v1::ShimService::Stub::InspectTask, inspect, &inspected)) ==
        "TASK_NOT_FOUND");
  for (const std::string& id : {std::string(kNobody), std::string("../../etc")}) {
    v1::TailTaskLogRequest tail;
    tail.set_task_id(id);
    v1::TailTaskLogResponse tailed;
    CHECK(base::Reason(f.Call(&v1::ShimService::Stub::TailTaskLog, tail, &tailed)) ==
          "TASK_NOT_FOUND");
    v1::GetPullLogRequest pull;
    pull.set_task_id(id);
    v1::GetPullLogResponse pulled;
    CHECK(base::Reason(f.Call(&v1::ShimService::Stub::GetPullLog, pull, &pulled)) ==
          "TASK_NOT_FOUND");
  }
}

TEST_CASE("a drained host refuses new tasks, keeps the old ones and reports when it is empty") {
  Fixture f;
  const v1::TaskSpec task = f.Submit();
  f.client->AwaitState(task.task_id(), v1::TASK_STATE_RUNNING);
  v1::SessionRequest drain;
  drain.mutable_drain()->set_is_draining(true);
  f.client->Write(drain);
  CHECK(f.client->AwaitFailure().reason() == "INVALID_FIELDS");
  drain.mutable_drain()->set_reason("new disk");
  f.client->Write(drain);
  CHECK(f.client->AwaitDrain(true, 1).reason() == "new disk");
  const v1::TaskSpec refused = f.Submit();
  f.tasks.pop_back();
  const v1::CommandFailed failure = f.client->AwaitFailure();
  CHECK(failure.reason() == "HOST_DRAINING");
  CHECK(failure.task_id() == refused.task_id());
  CHECK(failure.message().find("new disk") != std::string::npos);
  // The same task again is no new one.
  f.client->Submit(task);
  f.client->Terminate(task.task_id(), 0);
  f.client->AwaitDrain(true, 0);
  v1::GetHostResponse host;
  REQUIRE(f.Call(&v1::ShimService::Stub::GetHost, v1::GetHostRequest(), &host).ok());
  CHECK(host.drain().is_draining());
  v1::SetDrainResponse lifted;
  REQUIRE(f.Call(&v1::ShimService::Stub::SetDrain, v1::SetDrainRequest(), &lifted).ok());
  CHECK_FALSE(lifted.drain().is_draining());
  f.client->AwaitDrain(false, 0);
  f.client->AwaitState(f.Submit().task_id(), v1::TASK_STATE_RUNNING);
}

}  // namespace
}  // namespace dstack::shim
