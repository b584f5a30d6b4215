// What every container runtime promises: the fake, processes and Docker.
#include <chrono>
#include <future>
#include <memory>
#include <string>

#include <catch2/catch.hpp>
#include <signal.h>

#include "libs/testing/await.h"
#include "tests/contract/container_runtime/runtime_harness.h"

namespace dstack::shim {
namespace {

using namespace std::chrono_literals;

void ForEach(const std::function<void(RuntimeHarness&)>& body) {
  for (const NamedHarness& named : AllHarnesses()) {
    INFO(named.name);
    if (const auto harness = named.make()) body(*harness);
  }
}

ContainerStatus Create(RuntimeHarness& harness, const LaunchSpec& launch) {
  const auto image =
      harness.runtime().PrepareImage(launch.task, [](const v1::PullProgress&) {}, {});
  INFO(image.status());
  REQUIRE(image.ok());
  const auto created = harness.runtime().Create(launch);
  INFO(created.status());
  REQUIRE(created.ok());
  return *created;
}

LaunchSpec Run(RuntimeHarness& harness) {
  LaunchSpec launch = harness.MakeLaunch();
  Create(harness, launch);
  const auto started = harness.runtime().Start(launch.task.task_id());
  INFO(started.status());
  REQUIRE(started.ok());
  CHECK(started->state == ContainerState::kRunning);
  harness.AwaitUp(launch);
  return launch;
}

// Outcome of a watch.
absl::Status Watch(
    RuntimeHarness& harness,
    const std::string& task_id,
    const std::function<void()>& meanwhile = [] {}) {
  auto promise = std::make_shared<std::promise<absl::Status>>();
  auto future = promise->get_future();
  harness.runtime().WatchExit(task_id,
                              [promise](absl::Status status) { promise->set_value(status); });
  meanwhile();
  REQUIRE(future.wait_for(20s) == std::future_status::ready);
  return future.get();
}

ContainerStatus Inspect(RuntimeHarness& harness, const LaunchSpec& launch) {
  const auto status = harness.runtime().Inspect(launch.task.task_id());
  INFO(status.status());
  REQUIRE(status.ok());
  return *status;
}

TEST_CASE("created, started, ended: the exit status is known") {
  ForEach([](RuntimeHarness& harness) {
    for (const int exit_status : {0, 3}) {
      const LaunchSpec launch = harness.MakeLaunch();
      const ContainerStatus created = Create(harness, launch);
      CHECK(created.state == ContainerState::kCreated);
      CHECK(created.name == launch.container_name);
      CHECK(Inspect(harness, launch).state == ContainerState::kCreated);
      REQUIRE(harness.runtime().Start(launch.task.task_id()).ok());
      harness.AwaitUp(launch);
      CHECK(Watch(harness, launch.task.task_id(), [&] { harness.End(launch, exit_status); }).ok());
      const ContainerStatus ended = Inspect(harness, launch);
      CHECK(ended.state == ContainerState::kExited);
      CHECK(ended.exit_status == exit_status);
      // Again: what was learned once stays known.
      CHECK(Inspect(harness, launch).exit_status == exit_status);
      CHECK(Watch(harness, launch.task.task_id()).ok());
    }
  });
}

TEST_CASE("create and start may be repeated") {
  ForEach([](RuntimeHarness& harness) {
    const LaunchSpec launch = harness.MakeLaunch();
    const std::string id = Create(harness, launch).id;
    CHECK(Create(harness, launch).id == id);
    const auto first = harness.runtime().Start(launch.task.task_id());
    REQUIRE(first.ok());
    const auto second = harness.runtime().Start(launch.task.task_id());
    REQUIRE(second.ok());
    CHECK(second->id == first->id);
    CHECK(harness.runtime().Create(launch).status().code() ==
          absl::StatusCode::kFailedPrecondition);
    CHECK(harness.runtime().List()->size() == 1);
  });
}

TEST_CASE("SIGTERM asks, SIGKILL ends everything") {
  ForEach([](RuntimeHarness& harness) {
    const LaunchSpec polite = Run(harness);
    CHECK(harness.runtime().Signal(polite.task.task_id(), SIGTERM).ok());
    CHECK(Watch(harness, polite.task.task_id()).ok());

    const LaunchSpec stubborn = harness.MakeLaunch();
    harness.MakeStubborn(stubborn);
    Create(harness, stubborn);
    REQUIRE(harness.runtime().Start(stubborn.task.task_id()).ok());
    harness.AwaitUp(stubborn);
    CHECK(harness.runtime().Signal(stubborn.task.task_id(), SIGTERM).ok());
    CHECK(Inspect(harness, stubborn).state == ContainerState::kRunning);
    CHECK(harness.runtime().Signal(stubborn.task.task_id(), SIGKILL).ok());
    CHECK(Watch(harness, stubborn.task.task_id()).ok());
    CHECK(Inspect(harness, stubborn).exit_status == 128 + SIGKILL);
    // Of one that does not run it is no error.
    CHECK(harness.runtime().Signal(stubborn.task.task_id(), SIGTERM).ok());
  });
}

TEST_CASE("a removal ends what runs and may be repeated") {
  ForEach([](RuntimeHarness& harness) {
    const LaunchSpec launch = Run(harness);
    const std::string& task_id = launch.task.task_id();
    CHECK(harness.runtime().Remove(task_id).ok());
    CHECK(harness.runtime().Remove(task_id).ok());
    CHECK(absl::IsNotFound(harness.runtime().Inspect(task_id).status()));
    CHECK(absl::IsNotFound(harness.runtime().Start(task_id).status()));
    CHECK(absl::IsNotFound(harness.runtime().Signal(task_id, SIGTERM)));
    CHECK(absl::IsNotFound(Watch(harness, task_id)));
    CHECK(harness.runtime().List()->empty());
  });
}

TEST_CASE("another object on the same containers knows them") {
  ForEach([](RuntimeHarness& harness) {
    const LaunchSpec running = Run(harness);
    const LaunchSpec created = harness.MakeLaunch();
    Create(harness, created);
    const std::string id = Inspect(harness, running).id;
    harness.Reopen();
    const auto list = harness.runtime().List();
    REQUIRE(list.ok());
    CHECK(list->size() == 2);
    for (const ContainerStatus& status : *list) {
      const bool is_running = status.task_id == running.task.task_id();
      CHECK(status.state == (is_running ? ContainerState::kRunning : ContainerState::kCreated));
    }
    CHECK(Inspect(harness, running).id == id);
    CHECK(Watch(harness, running.task.task_id(), [&] { harness.End(running, 5); }).ok());
    CHECK(Inspect(harness, running).exit_status == 5);
    CHECK(harness.runtime().Start(created.task.task_id()).ok());
  });
}

TEST_CASE("a cancelled preparation of the image says so") {
  ForEach([](RuntimeHarness& harness) {
    std::stop_source stop;
    stop.request_stop();
    const auto image = harness.runtime().PrepareImage(
        harness.MakeLaunch().task, [](const v1::PullProgress&) {}, stop.get_token());
    CHECK(absl::IsCancelled(image.status()));
  });
}

}  // namespace
}  // namespace dstack::shim
