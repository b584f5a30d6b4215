// Two versions of the agents on one host, one after the other, while containers run.
#include <fstream>
#include <optional>
#include <string>

#include <catch2/catch.hpp>

#include "libs/base/file.h"
#include "libs/base/version.h"
#include "libs/docker/containers.h"
#include "libs/testing/await.h"
#include "libs/testing/mini_docker.h"
#include "libs/testing/paths.h"
#include "services/shim/adapters/docker_runtime.h"
#include "tests/component/runner_agent/session_client.h"
#include "tests/component/shim_agent/installed_shim.h"
#include "tests/component/shim_agent/next_version.h"
#include "tests/component/shim_agent/shim_process.h"

namespace dstack::shim {
namespace {

using testing::kBusyboxImage;

// An engine, and a shim of this version on it. Removes the shim's containers at the end.
struct Fixture {
  static std::unique_ptr<Fixture> Make(InstalledShim::Settings settings = {}) {
    auto engine = testing::MiniDocker::Start();
    if (!engine.ok()) {
      testing::Skip(std::string(engine.status().message()));
      return nullptr;
    }
    REQUIRE((*engine)->EnsureBusybox().ok());
    settings.docker_host = (*engine)->host();
    return std::make_unique<Fixture>(*std::move(engine), std::move(settings));
  }
  Fixture(std::unique_ptr<testing::MiniDocker> engine_in, InstalledShim::Settings settings)
      : engine(std::move(engine_in)), shim(std::move(settings)) {
    testing::Await(std::chrono::seconds(30),
                   [&] { return base::Exists(shim.home() + "/shim_id"); });
    client.emplace(shim.Target());
    client->AwaitSynced();
  }
  ~Fixture() {
    client.reset();
    std::string id = base::ReadFile(shim.home() + "/shim_id").value_or("");
    while (!id.empty() && id.back() == '\n') id.pop_back();
    const auto ids = docker::ListContainers(engine->client(), {{kShimIdLabel, id}}, {});
    for (const std::string& container : ids.value_or(std::vector<std::string>())) {
      static_cast<void>(docker::RemoveContainer(engine->client(), container, {}).ok());
    }
  }

  std::string Version() { return client->AwaitHello().facts().shim_version(); }

  std::unique_ptr<testing::MiniDocker> engine;
  InstalledShim shim;
  std::optional<ShimClient> client;
};

// A container whose job counts until it may go, and ends with status 7.
struct Job {
  explicit Job(Fixture& fixture, const std::string& name) {
    task.set_name(name);
    fixture.client->Submit(task);
    const auto running = fixture.client->AwaitState(task.task_id(), v1::TASK_STATE_RUNNING);
    container_id = running.container_id();
    session.emplace("unix:" + running.runner_socket(), task.runner_token(), store);
    session->Submit(runner::MakeShellJob(
        "i=0; while [ ! -e /dstack/runner/go ]; do echo line $i; i=$((i+1)); sleep 0.02; done; "
        "echo lines $i; exit 7"));
    session->AwaitFilesNeeded();
    session->StartJob();
    session->AwaitText(common::v1::LOG_SOURCE_JOB, "line 1");
  }
  // Its exit status and all of its lines arrive.
  void End(Fixture& fixture) {
    std::ofstream(fixture.shim.home() + "/tasks/" + task.task_id() + "/runner/go").flush();
    CHECK(session->AwaitState(runner::v1::JOB_STATE_FINISHED).exit_status() == 7);
    session->AwaitEndOfLogs();
    session->AckEnd();
    session->AwaitClosed();
    CHECK(store.defect.empty());
    const std::string& text = store.text[common::v1::LOG_SOURCE_JOB];
    const std::size_t at = text.find("lines ");
    REQUIRE(at != text.npos);
    const int lines = std::stoi(text.substr(at + 6));
    for (int i = 0; i < lines; ++i) {
      CHECK(text.find("line " + std::to_string(i) + "\n") != text.npos);
    }
    const auto ended = fixture.client->AwaitState(task.task_id(), v1::TASK_STATE_TERMINATED);
    CHECK(ended.exit_status() == 7);
    fixture.client->Remove(task.task_id());
    fixture.client->AwaitRemoved(task.task_id());
  }

  v1::TaskSpec task = MakeTask(kBusyboxImage);
  std::string container_id;
  runner::ServerStore store;
  std::optional<runner::SessionClient> session;
};

TEST_CASE("T5 containers run on while their shim becomes another version") {
  const auto f = Fixture::Make();
  if (!f) return;
  CHECK(f->Version() == base::Version());
  Job old(*f, "test-0-0");
  CHECK(old.session->runner_version() == base::Version());
  Upgrade(*f->client, NextPrograms());
  f->client->AwaitUpgrade(v1::UPGRADE_STATE_ACTIVATING);
  Reconnect(f->client, f->shim);
  CHECK(f->Version() == kNextVersion);
  f->client->AwaitUpgrade(v1::UPGRADE_STATE_ACTIVE);
  const auto adopted = f->client->AwaitState(old.task.task_id(), v1::TASK_STATE_RUNNING);
  CHECK(adopted.container_id() == old.container_id);
  // A sanitizer's runner is not static, and starts in no container.
  const bool is_static = testing::StaticBinary("dstack-runner") == testing::Binary("dstack-runner");
  if (is_static) {
    Job fresh(*f, "test-1-0");
    CHECK(fresh.session->runner_version() == kNextVersion);
    fresh.End(*f);
  }
  old.End(*f);
}

TEST_CASE("containers run on while a bad version comes and the old one is back") {
  const auto f = Fixture::Make();
  if (!f) return;
  Job job(*f, "test-0-0");
  Programs programs = NextPrograms();
  // Says the right version when asked, and dies.
  programs.shim = Stripped(testing::BuildDir() + "/test-bin/bad_next_shim");
  Upgrade(*f->client, programs);
  f->client->AwaitUpgrade(v1::UPGRADE_STATE_ACTIVATING);
  Reconnect(f->client, f->shim);
  f->client->AwaitUpgrade(v1::UPGRADE_STATE_ROLLED_BACK);
  CHECK(f->Version() == base::Version());
  const auto adopted = f->client->AwaitState(job.task.task_id(), v1::TASK_STATE_RUNNING);
  CHECK(adopted.container_id() == job.container_id);
  job.End(*f);
}

TEST_CASE("a shim and a runner of different versions are refused together") {
  const auto f = Fixture::Make();
  if (!f) return;
  const auto pid = f->shim.ShimPid();
  Programs programs = NextPrograms();
  programs.runner = ThesePrograms().runner;
  Upgrade(*f->client, programs);
  const v1::UpgradeStatus status = f->client->AwaitUpgrade(v1::UPGRADE_STATE_REFUSED);
  CHECK(status.message().find(kNextVersion) != std::string::npos);
  CHECK(status.message().find(std::string(base::Version())) != std::string::npos);
  CHECK(f->shim.ShimPid() == pid);
}

}  // namespace
}  // namespace dstack::shim
