// Tasks of a real shim on a real engine, with the real runner.
#include <chrono>
#include <string>

#include <catch2/catch.hpp>

#include "libs/base/file.h"
#include "tests/component/runner_agent/session_client.h"
#include "tests/component/shim_agent/docker_fixture.h"

namespace dstack::shim {
namespace {

using namespace std::chrono_literals;
using testing::kBusyboxImage;

constexpr double kLongGrace = 20;

TEST_CASE("a task runs, ends with the job's status and goes without a trace") {
  const auto fixture = DockerFixture::Ready({.has_ssh = true});
  if (!fixture) return;
  ShimClient& client = *fixture->client;
  CHECK(client.AwaitHello().facts().container_runtime() == v1::CONTAINER_RUNTIME_DOCKER);
  client.AwaitSynced();

  const v1::TaskSpec task = MakeTask(kBusyboxImage);
  client.Submit(task);
  const v1::TaskStatus running = client.AwaitState(task.task_id(), v1::TASK_STATE_RUNNING);
  REQUIRE(running.ports_size() == 1);
  CHECK(running.ports(0).container_port() == 10022);
  CHECK(running.ports(0).host_port() > 0);
  CHECK(running.container_name().starts_with("test-0-0-"));

  runner::ServerStore store;
  {
    runner::SessionClient session("unix:" + running.runner_socket(), task.runner_token(), store);
    session.Submit(runner::MakeShellJob("echo from the container; exit 3"));
    CHECK(session.AwaitFilesNeeded().empty());
    session.StartJob();
    CHECK(session.AwaitState(runner::v1::JOB_STATE_FINISHED).exit_status() == 3);
    session.AwaitEndOfLogs();
    session.AckEnd();
    session.AwaitClosed();
  }
  CHECK(store.text[common::v1::LOG_SOURCE_JOB] == "from the container\n");

  const v1::TaskStatus ended = client.AwaitState(task.task_id(), v1::TASK_STATE_TERMINATED);
  CHECK(ended.exit_status() == 3);
  CHECK(ended.termination_reason() == v1::TASK_TERMINATION_REASON_CONTAINER_EXITED_WITH_ERROR);
  client.Remove(task.task_id());
  client.AwaitRemoved(task.task_id());
  CHECK(fixture->Containers().empty());
  CHECK_FALSE(base::Exists(fixture->shim.home() + "/tasks/" + task.task_id()));
  client.Remove(task.task_id());  // again, as after a lost answer
  client.AwaitRemoved(task.task_id());
}

TEST_CASE("the image's own command runs when the job has none") {
  const auto fixture = DockerFixture::Ready();
  if (!fixture) return;
  const v1::TaskSpec task = MakeTask(kBusyboxImage);
  const auto running = fixture->Run(task);
  const auto config = base::ReadFile(fixture->shim.home() + "/tasks/" + task.task_id() +
                                     "/runner/image_config.json");
  REQUIRE(config.ok());
  CHECK(config->find("\"cmd\":[\"sh\"]") != std::string::npos);
}

TEST_CASE("a repeated submit changes nothing, another content is refused") {
  const auto fixture = DockerFixture::Ready();
  if (!fixture) return;
  ShimClient& client = *fixture->client;
  v1::TaskSpec task = MakeTask(kBusyboxImage);
  client.Submit(task);
  client.Submit(task);
  client.AwaitState(task.task_id(), v1::TASK_STATE_RUNNING);
  client.Submit(task);
  task.set_name("other-0-0");
  client.Submit(task);
  const v1::CommandFailed failure = client.AwaitFailure();
  CHECK(failure.reason() == "INVALID_FIELDS");
  CHECK(failure.task_id() == task.task_id());
  CHECK(fixture->Containers().size() == 1);

  v1::TaskSpec bad = MakeTask(kBusyboxImage);
  bad.set_task_id("../../etc");
  client.Submit(bad);
  CHECK(client.AwaitFailure().reason() == "INVALID_FIELDS");
}

TEST_CASE("terminate lets the job end within its grace, and kills it after") {
  const auto fixture = DockerFixture::Ready();
  if (!fixture) return;
  ShimClient& client = *fixture->client;
  const struct {
    const char* script;
    double grace;
  } rows[] = {{"sleep 600", kLongGrace}, {"trap '' TERM; sleep 600", 0}};
  for (const auto& row : rows) {
    INFO(row.script);
    const v1::TaskSpec task = MakeTask(kBusyboxImage);
    client.Submit(task);
    const auto running = client.AwaitState(task.task_id(), v1::TASK_STATE_RUNNING);
    runner::ServerStore store;
    runner::SessionClient session("unix:" + running.runner_socket(), task.runner_token(), store);
    session.Submit(runner::MakeShellJob(row.script));
    session.AwaitFilesNeeded();
    session.StartJob();
    session.AwaitState(runner::v1::JOB_STATE_RUNNING);
    const auto start = std::chrono::steady_clock::now();
    client.Terminate(task.task_id(), row.grace, "stopped by a test");
    const auto ended = client.AwaitState(task.task_id(), v1::TASK_STATE_TERMINATED);
    CHECK(std::chrono::steady_clock::now() - start < 10s);
    CHECK(ended.termination_reason() == v1::TASK_TERMINATION_REASON_TERMINATED_BY_SERVER);
    CHECK(ended.termination_message() == "stopped by a test");
  }
}

TEST_CASE("an absent image ends the task with its name in the message") {
  const auto fixture = DockerFixture::Ready();
  if (!fixture) return;
  const v1::TaskSpec task = MakeTask("localhost:1/no/such:1");
  fixture->client->Submit(task);
  const auto ended = fixture->client->AwaitState(task.task_id(), v1::TASK_STATE_TERMINATED);
  CHECK(ended.termination_reason() == v1::TASK_TERMINATION_REASON_CREATING_CONTAINER_ERROR);
  CHECK(ended.termination_message().find("localhost:1/no/such:1") != std::string::npos);
  CHECK(fixture->Containers().empty());
}

TEST_CASE("a task that this host cannot run says why") {
  const auto fixture = DockerFixture::Ready();
  if (!fixture) return;
  v1::TaskSpec task = MakeTask("");
  task.set_gpu_count(-5);
  fixture->client->Submit(task);
  const auto ended = fixture->client->AwaitState(task.task_id(), v1::TASK_STATE_TERMINATED);
  CHECK(ended.termination_reason() == v1::TASK_TERMINATION_REASON_EXECUTOR_ERROR);
  CHECK(ended.termination_message().find("gpu_count") != std::string::npos);
  CHECK(ended.termination_message().find("base image") != std::string::npos);

  v1::TaskSpec gpus = MakeTask(kBusyboxImage);
  gpus.set_gpu_count(99);
  fixture->client->Submit(gpus);
  const auto short_of = fixture->client->AwaitState(gpus.task_id(), v1::TASK_STATE_TERMINATED);
  CHECK(short_of.termination_message().find("99") != std::string::npos);
}

TEST_CASE("the first report has all tasks, then come the changes") {
  const auto fixture = DockerFixture::Ready();
  if (!fixture) return;
  const v1::TaskSpec first = MakeTask(kBusyboxImage);
  const v1::TaskSpec second = MakeTask("localhost:1/no/such:1");
  fixture->client->Submit(first);
  fixture->client->Submit(second);
  fixture->client->AwaitState(first.task_id(), v1::TASK_STATE_RUNNING);
  fixture->client->AwaitState(second.task_id(), v1::TASK_STATE_TERMINATED);
  fixture->Connect(2);
  fixture->client->AwaitSynced();
  CHECK(fixture->client->tasks_before_sync() == 2);
  CHECK(fixture->client->Status(first.task_id()).state() == v1::TASK_STATE_RUNNING);
}

TEST_CASE("a container that somebody removes ends its task") {
  const auto fixture = DockerFixture::Ready();
  if (!fixture) return;
  const v1::TaskSpec task = MakeTask(kBusyboxImage);
  const auto running = fixture->Run(task);
  REQUIRE(docker::RemoveContainer(fixture->engine->client(), running.container_id(), {}).ok());
  const auto ended = fixture->client->AwaitState(task.task_id(), v1::TASK_STATE_TERMINATED);
  CHECK(ended.termination_reason() == v1::TASK_TERMINATION_REASON_CONTAINER_EXITED_WITH_ERROR);
  fixture->client->Remove(task.task_id());
  fixture->client->AwaitRemoved(task.task_id());
}

TEST_CASE("what a dead container left in its spool is delivered") {
  const auto fixture = DockerFixture::Ready();
  if (!fixture) return;
  const v1::TaskSpec task = MakeTask(kBusyboxImage);
  const auto running = fixture->Run(task);
  runner::ServerStore store;
  {
    runner::SessionClient session("unix:" + running.runner_socket(), task.runner_token(), store);
    session.Submit(runner::MakeShellJob("echo last words; sleep 600"));
    session.AwaitFilesNeeded();
    session.StartJob();
    session.AwaitText(common::v1::LOG_SOURCE_JOB, "last words");
  }
  store = {};
  REQUIRE(docker::KillContainer(fixture->engine->client(), running.container_id(), 9, {}).ok());
  const auto ended = fixture->client->AwaitState(task.task_id(), v1::TASK_STATE_TERMINATED);
  CHECK(ended.exit_status() == 137);
  testing::Await(20s, [&] {
    const auto channel =
        grpc::CreateChannel("unix:" + ended.runner_socket(), grpc::InsecureChannelCredentials());
    return channel->WaitForConnected(std::chrono::system_clock::now() + 100ms);
  });
  runner::SessionClient session("unix:" + ended.runner_socket(), task.runner_token(), store);
  session.AwaitEndOfLogs();
  CHECK(session.Text(common::v1::LOG_SOURCE_JOB) == "last words\n");
  session.AckEnd();
  session.AwaitClosed();
  fixture->client->Remove(task.task_id());
  fixture->client->AwaitRemoved(task.task_id());
}

}  // namespace
}  // namespace dstack::shim
