// Pulls of a real shim and a real engine, from a real registry and from one that misbehaves.
#include <chrono>
#include <string>

#include <catch2/catch.hpp>

#include "libs/base/file.h"
#include "libs/docker/images.h"
#include "tests/component/shim_agent/docker_fixture.h"
#include "tests/component/shim_agent/test_registry.h"

namespace dstack::shim {
namespace {

using namespace std::chrono_literals;
using testing::kBusyboxImage;

v1::TaskStatus RunToEnd(DockerFixture& fixture, const v1::TaskSpec& task) {
  fixture.client->Submit(task);
  return fixture.client->AwaitState(task.task_id(), v1::TASK_STATE_TERMINATED);
}

TEST_CASE("an image behind a password: with it, without it, with a wrong one, by a configuration") {
  const auto registry = RealRegistry::Start();
  if (!registry) return;
  const auto fixture = DockerFixture::Make();
  if (!fixture) return;
  registry->Push(fixture->engine->client(), kBusyboxImage, "app");
  const std::string image = registry->host() + "/app:1";
  fixture->Start();
  fixture->Connect();

  const v1::TaskSpec anonymous = MakeTask(image);
  const auto refused = RunToEnd(*fixture, anonymous);
  INFO(refused.ShortDebugString());
  CHECK(refused.termination_reason() == v1::TASK_TERMINATION_REASON_CREATING_CONTAINER_ERROR);
  CHECK(refused.termination_message().find("(401)") != std::string::npos);

  v1::TaskSpec wrong = MakeTask(image);
  wrong.mutable_registry_auth()->set_username(RealRegistry::kUser);
  wrong.mutable_registry_auth()->set_password("sEcReT");
  const auto denied = RunToEnd(*fixture, wrong);
  CHECK(denied.termination_message().find("(401)") != std::string::npos);
  CHECK(denied.termination_message().find("sEcReT") == std::string::npos);

  v1::TaskSpec right = MakeTask(image);
  // "ann:pa:ss word"
  right.mutable_registry_auth()->set_docker_config("{\"auths\":{\"" + registry->host() +
                                                   "\":{\"auth\":\"YW5uOnBhOnNzIHdvcmQ=\"}}}");
  fixture->Run(right);
  const std::string log =
      base::ReadFile(fixture->shim.home() + "/tasks/" + right.task_id() + "/pull.log").value_or("");
  CHECK(log.find("Status: ") != std::string::npos);

  // The manifest that is not there.
  v1::TaskSpec absent = MakeTask(registry->host() + "/app:2");
  *absent.mutable_registry_auth() = right.registry_auth();
  CHECK(RunToEnd(*fixture, absent).termination_message().find("(404)") != std::string::npos);
  fixture->Discard(right);
  static_cast<void>(docker::RemoveImage(fixture->engine->client(), image, {}).ok());
}

TEST_CASE("a registry's refusals and defects reach the task in words that say which") {
  BadRegistry registry;
  const auto fixture = DockerFixture::Ready({.extra_args = {"--pull-stall-limit", "2"}});
  if (!fixture) return;
  const struct {
    std::string image;
    const char* words;
  } rows[] = {{registry.Image("limited"), "(429)"},
              {registry.Image("broken"), "(5xx)"},
              {registry.Image("forbidden"), "(403)"},
              {registry.Image("missing"), "(404)"},
              {registry.Image("silent"), "nothing of the image came for 2 s"},
              {"127.0.0.1:1/x:1", "cannot be reached"},
              {"Upper/CASE:1", "no image reference"}};
  std::vector<v1::TaskSpec> tasks;
  for (const auto& row : rows) {
    tasks.push_back(MakeTask(row.image));
    fixture->client->Submit(tasks.back());
  }
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    const auto ended = fixture->client->AwaitState(tasks[i].task_id(), v1::TASK_STATE_TERMINATED);
    INFO(ended.ShortDebugString());
    CHECK(ended.termination_reason() == v1::TASK_TERMINATION_REASON_CREATING_CONTAINER_ERROR);
    CHECK(ended.termination_message().find(rows[i].words) != std::string::npos);
    CHECK(ended.termination_message().find(rows[i].image) != std::string::npos);
  }
}

TEST_CASE("a slow pull that moves goes on beyond the stall limit, shared and with progress") {
  BadRegistry registry;
  const auto fixture = DockerFixture::Ready({.extra_args = {"--pull-stall-limit", "2"}});
  if (!fixture) return;
  const v1::TaskSpec first = MakeTask(registry.Image("slow"));
  v1::TaskSpec second = MakeTask(registry.Image("slow"));
  second.set_name("test-1-0");
  fixture->client->Submit(first);
  testing::Await(20s, [&] { return !fixture->client->Progress(first.task_id()).empty(); });
  const int requests = registry.requests("slow");
  fixture->client->Submit(second);
  // What is pulled has no program of its own; the supervisor needs none.
  for (const v1::TaskSpec* task : std::initializer_list<const v1::TaskSpec*>{&first, &second}) {
    fixture->client->AwaitState(task->task_id(), v1::TASK_STATE_RUNNING);
    const auto progress = fixture->client->Progress(task->task_id());
    REQUIRE_FALSE(progress.empty());
    CHECK(progress.back().total_bytes() > 0);
    CHECK(progress.back().layers_total() == 1);
    CHECK(progress.back().attempt() == 1);
  }
  CHECK(registry.requests("slow") == requests);
  CHECK(docker::InspectImage(fixture->engine->client(), registry.Image("slow"), {}).ok());
  fixture->client.reset();
  for (const std::string& id : fixture->Containers()) {
    static_cast<void>(docker::RemoveContainer(fixture->engine->client(), id, {}).ok());
  }
  static_cast<void>(
      docker::RemoveImage(fixture->engine->client(), registry.Image("slow"), {}).ok());
}

TEST_CASE("a pull is cancelled at once") {
  BadRegistry registry;
  const auto fixture = DockerFixture::Ready();
  if (!fixture) return;
  const v1::TaskSpec task = MakeTask(registry.Image("silent"));
  fixture->client->Submit(task);
  testing::Await(20s, [&] { return registry.requests("silent") > 0; });
  fixture->client->Terminate(task.task_id(), 0, "enough");
  const auto ended = fixture->client->AwaitState(task.task_id(), v1::TASK_STATE_TERMINATED);
  CHECK(ended.termination_reason() == v1::TASK_TERMINATION_REASON_TERMINATED_BY_SERVER);
}

TEST_CASE("a registry that fails for a while is tried again") {
  BadRegistry registry;
  const auto fixture = DockerFixture::Ready({.extra_args = {"--pull-attempts", "6"}});
  if (!fixture) return;
  const v1::TaskSpec task = MakeTask(registry.Image("flaky"));
  fixture->Run(task);
  CHECK(registry.requests("flaky") > 4);
  fixture->Discard(task);
  static_cast<void>(
      docker::RemoveImage(fixture->engine->client(), registry.Image("flaky"), {}).ok());
}

TEST_CASE(
    "W15 images that the shim pulled go by the policy, those in use and those of others stay") {
  BadRegistry registry;
  auto engine = testing::MiniDocker::Start();
  if (!engine.ok()) return testing::Skip(std::string(engine.status().message()));
  const docker::Client& client = (*engine)->client();
  testing::TempDir dir;
  const base::RealClock clock;
  base::SeededRandom random{1};
  const std::string image = registry.Image("other");
  const ImageStoreSettings settings{.state_file = dir.Path("images.json"),
                                    .policy = {.max_unused = 0s, .max_bytes = 1}};
  {
    ImageStore store(client, settings, clock, random);
    store.Hold("task", image);
    REQUIRE(store.Pull(image, std::nullopt, {}, {}).ok());
    CHECK(store.CleanUp() == 0);  // a task waits for it
  }
  // Another process knows what was pulled.
  ImageStore store(client, settings, clock, random);
  const std::string name = "user-of-" + std::to_string(::getpid());
  const auto id = docker::CreateContainer(client, name, {.image = image}, {});
  REQUIRE(id.ok());
  CHECK(store.CleanUp() == 0);  // a container is made from it
  REQUIRE(docker::RemoveContainer(client, *id, {}).ok());
  CHECK(store.CleanUp() == 1);
  CHECK(absl::IsNotFound(docker::InspectImage(client, image, {}).status()));

  // Somebody else's: it was there before.
  REQUIRE(docker::PullImage(client, {.reference = image}, {}).ok());
  REQUIRE(store.Pull(image, std::nullopt, {}, {}).ok());
  CHECK(store.CleanUp() == 0);
  REQUIRE(docker::RemoveImage(client, image, {}).ok());
}

}  // namespace
}  // namespace dstack::shim
