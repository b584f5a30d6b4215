// kill -9 of the shim between any two steps, and what the next one makes of it.
#include <chrono>
#include <string>

#include <catch2/catch.hpp>
#include <signal.h>

#include "libs/base/file.h"
#include "tests/component/runner_agent/session_client.h"
#include "tests/component/shim_agent/docker_fixture.h"

namespace dstack::shim {
namespace {

using namespace std::chrono_literals;
using testing::kBusyboxImage;

// Runs `script` as the job of a running task and waits until it said `word`.
void StartJob(const v1::TaskStatus& running,
              const v1::TaskSpec& task,
              const std::string& script,
              const std::string& word) {
  runner::ServerStore store;
  runner::SessionClient session("unix:" + running.runner_socket(), task.runner_token(), store);
  session.Submit(runner::MakeShellJob(script));
  session.AwaitFilesNeeded();
  session.StartJob();
  session.AwaitText(common::v1::LOG_SOURCE_JOB, word);
}

TEST_CASE("a shim that dies before the task runs goes on where it was") {
  for (const char* point : {"shim.after_submit",
                            "shim.before_pull",
                            "shim.before_create",
                            "shim.after_create",
                            "shim.before_start",
                            "shim.after_start"}) {
    INFO(point);
    const auto fixture = DockerFixture::Ready({}, std::string(point) + "=crash");
    if (!fixture) return;
    const v1::TaskSpec task = MakeTask(kBusyboxImage);
    fixture->client->Submit(task);
    fixture->shim.AwaitCrash();
    fixture->Restart();
    const auto running = fixture->client->AwaitState(task.task_id(), v1::TASK_STATE_RUNNING);
    CHECK(fixture->Containers().size() == 1);
    StartJob(running, task, "echo once", "once");
    fixture->Discard(task);
    CHECK(fixture->Containers().empty());
  }
}

TEST_CASE("W6 a running task is taken up again, with its end and its ports") {
  const auto fixture = DockerFixture::Ready({.has_ssh = true});
  if (!fixture) return;
  const v1::TaskSpec task = MakeTask(kBusyboxImage);
  const auto before = fixture->Run(task);
  StartJob(before, task, "echo begun; while [ ! -e /tmp/go ]; do sleep 0.1; done; exit 7", "begun");
  fixture->Restart();
  const auto after = fixture->client->AwaitState(task.task_id(), v1::TASK_STATE_RUNNING);
  CHECK(after.container_id() == before.container_id());
  CHECK(after.revision() > before.revision());
  REQUIRE(after.ports_size() == 1);
  CHECK(after.ports(0).host_port() == before.ports(0).host_port());
  {
    runner::ServerStore store;
    runner::SessionClient session("unix:" + after.runner_socket(), task.runner_token(), store);
    CHECK(session.AwaitHello().state() == runner::v1::JOB_STATE_RUNNING);
    session.StopJob(0);
    session.AwaitState(runner::v1::JOB_STATE_FINISHED);
    session.AwaitEndOfLogs();
    session.AckEnd();
    session.AwaitClosed();
  }
  const auto ended = fixture->client->AwaitState(task.task_id(), v1::TASK_STATE_TERMINATED);
  CHECK(ended.exit_status() > 128);
}

TEST_CASE("a task that ends while no shim is there is reported with its status") {
  const auto fixture = DockerFixture::Ready();
  if (!fixture) return;
  const v1::TaskSpec task = MakeTask(kBusyboxImage);
  const auto running = fixture->Run(task);
  fixture->client.reset();
  fixture->shim.Kill();
  REQUIRE(
      docker::KillContainer(fixture->engine->client(), running.container_id(), SIGKILL, {}).ok());
  fixture->shim.Start();
  fixture->Connect();
  const auto ended = fixture->client->AwaitState(task.task_id(), v1::TASK_STATE_TERMINATED);
  CHECK(ended.exit_status() == 137);
}

TEST_CASE("a stop that was cut off by a crash is carried on") {
  const auto fixture = DockerFixture::Ready({}, "shim.after_terminate=crash");
  if (!fixture) return;
  const v1::TaskSpec task = MakeTask(kBusyboxImage);
  fixture->Run(task);
  fixture->client->Terminate(task.task_id(), 5, "early");
  fixture->shim.AwaitCrash();
  fixture->Restart();
  const auto ended = fixture->client->AwaitState(task.task_id(), v1::TASK_STATE_TERMINATED);
  CHECK(ended.termination_reason() == v1::TASK_TERMINATION_REASON_TERMINATED_BY_SERVER);
  CHECK(ended.termination_message() == "early");
}

TEST_CASE("a removal that was cut off by a crash is finished") {
  for (const char* point : {"shim.before_remove", "shim.after_remove_container"}) {
    INFO(point);
    const auto fixture = DockerFixture::Ready({}, std::string(point) + "=crash");
    if (!fixture) return;
    const v1::TaskSpec task = MakeTask(kBusyboxImage);
    fixture->Run(task);
    fixture->End(task);
    fixture->client->Remove(task.task_id());
    fixture->shim.AwaitCrash();
    fixture->Restart();
    testing::Await(20s, [&] {
      return fixture->Containers().empty() &&
             !base::Exists(fixture->shim.home() + "/tasks/" + task.task_id());
    });
    fixture->client->Remove(task.task_id());
    fixture->client->AwaitRemoved(task.task_id());
  }
}

TEST_CASE("containers of this shim without a task are removed, others are not touched") {
  const auto fixture = DockerFixture::Make();
  if (!fixture) return;
  fixture->Start();
  const auto& engine = fixture->engine->client();
  const std::string mark = fixture->shim.shim_id().substr(0, 8);
  const auto create = [&](const std::string& name, const std::string& shim_id) {
    const auto id = docker::CreateContainer(
        engine,
        name,
        {.image = kBusyboxImage,
         .cmd = {"sleep", "600"},
         .labels = {{kTaskLabel, "true"}, {kTaskIdLabel, "t-" + name}, {kShimIdLabel, shim_id}}},
        {});
    REQUIRE(id.ok());
    return *id;
  };
  const std::string ours = create("stray-" + mark, fixture->shim.shim_id());
  const std::string foreign = create("foreign-" + mark, "another-" + mark);
  fixture->Restart();
  testing::Await(
      20s, [&] { return absl::IsNotFound(docker::InspectContainer(engine, ours, {}).status()); });
  CHECK(docker::InspectContainer(engine, foreign, {}).ok());
  CHECK(docker::RemoveContainer(engine, foreign, {}).ok());
}

TEST_CASE("a damaged record is replaced by its predecessor, or set aside") {
  const auto fixture = DockerFixture::Ready();
  if (!fixture) return;
  const v1::TaskSpec task = MakeTask(kBusyboxImage);
  fixture->Run(task);
  fixture->client.reset();
  fixture->shim.Kill();
  const std::string dir = fixture->shim.home() + "/tasks/" + task.task_id();
  const std::string text = base::ReadFile(dir + "/task.pb").value_or("");
  REQUIRE(base::WriteFileAtomic(dir + "/task.pb", text.substr(0, text.size() / 2), 0600).ok());
  fixture->shim.Start();
  fixture->Connect();
  fixture->client->AwaitState(task.task_id(), v1::TASK_STATE_RUNNING);

  fixture->client.reset();
  fixture->shim.Kill();
  REQUIRE(base::WriteFileAtomic(dir + "/task.pb", "", 0600).ok());
  REQUIRE(base::WriteFileAtomic(dir + "/task.pb.prev", "x", 0600).ok());
  fixture->shim.Start();
  fixture->Connect();
  fixture->client->AwaitSynced();
  CHECK(fixture->client->tasks_before_sync() == 0);
  CHECK(base::Exists(fixture->shim.home() + "/damaged"));
  testing::Await(20s, [&] { return fixture->Containers().empty(); });
}

TEST_CASE("a clean stop leaves tasks alone, and no process of the shim behind") {
  const auto fixture = DockerFixture::Ready();
  if (!fixture) return;
  const v1::TaskSpec task = MakeTask(kBusyboxImage);
  fixture->Run(task);
  CHECK(fixture->shim.Stop().ok());
  CHECK(fixture->client->AwaitClosed().error_code() == grpc::StatusCode::UNAVAILABLE);
  CHECK(fixture->Containers().size() == 1);
  fixture->client.reset();
  fixture->shim.Start();
  fixture->Connect();
  fixture->client->AwaitState(task.task_id(), v1::TASK_STATE_RUNNING);
}

TEST_CASE("a stop right after the start is heard, not killed at the end of its grace") {
  const auto fixture = DockerFixture::Ready();
  if (!fixture) return;
  for (int i = 0; i < 5; ++i) {
    const v1::TaskSpec task = MakeTask(kBusyboxImage);
    fixture->Run(task);
    fixture->client->Terminate(task.task_id(), 20);
    const auto ended = fixture->client->AwaitState(task.task_id(), v1::TASK_STATE_TERMINATED);
    CHECK(ended.exit_status() == 128 + SIGTERM);
  }
}

}  // namespace
}  // namespace dstack::shim
