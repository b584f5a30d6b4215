// What a shim costs a host: memory and processor at rest and with fifty tasks, and how soon a new
// one has taken fifty running tasks up again. One line per figure.
#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <catch2/catch.hpp>
#include <fmt/format.h>
#include <time.h>
#include <unistd.h>

#include "libs/testing/mini_docker.h"
#include "tests/component/runner_agent/runner_process.h"
#include "tests/component/shim_agent/docker_fixture.h"
#include "tests/component/shim_agent/shim_client.h"
#include "tests/component/shim_agent/shim_process.h"

namespace dstack::shim {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr int kTasks = 50;
constexpr auto kIdleTime = 20s;

double ResidentMb(pid_t pid) { return static_cast<double>(runner::ResidentKib(pid)) * 1024 / 1e6; }

// Seconds of processor time that the process has used, by the scheduler's clock: the ticks of
// /proc/PID/stat count a whole tick for a thread that a timer wakes, because that happens at ticks.
double CpuSeconds(pid_t pid) {
  clockid_t clock = 0;
  REQUIRE(::clock_getcpuclockid(pid, &clock) == 0);
  timespec used{};
  REQUIRE(::clock_gettime(clock, &used) == 0);
  return static_cast<double>(used.tv_sec) + static_cast<double>(used.tv_nsec) / 1e9;
}

double IdleCpuPercent(pid_t pid) {
  const double before = CpuSeconds(pid);
  std::this_thread::sleep_for(kIdleTime);
  return (CpuSeconds(pid) - before) / std::chrono::duration<double>(kIdleTime).count() * 100;
}

void Measure(const std::string& kind, const std::string& image, ShimProcess& shim) {
  const auto print = [&](const char* name, double value, const char* unit) {
    std::printf("shim_%s_%s %.2f %s\n", kind.c_str(), name, value, unit);
    std::fflush(stdout);
  };
  shim.Start();
  std::optional<ShimClient> client(std::in_place, shim.Target());
  client->AwaitSynced();
  print("idle_cpu", IdleCpuPercent(shim.pid()), "%");
  print("idle_rss", ResidentMb(shim.pid()), "MB");

  std::vector<std::string> ids;
  for (int i = 0; i < kTasks; ++i) {
    v1::TaskSpec task = MakeTask(image);
    if (image.empty()) task.set_network_mode(v1::NETWORK_MODE_HOST);
    client->Submit(task);
    ids.push_back(task.task_id());
  }
  for (const std::string& id : ids) client->AwaitState(id, v1::TASK_STATE_RUNNING);
  print("50_tasks_cpu", IdleCpuPercent(shim.pid()), "%");
  print("50_tasks_rss", ResidentMb(shim.pid()), "MB");

  client.reset();
  shim.Kill();
  const auto start = Clock::now();
  shim.Start();
  client.emplace(shim.Target());
  for (const std::string& id : ids) client->AwaitState(id, v1::TASK_STATE_RUNNING);
  print("restart_50_tasks",
        std::chrono::duration<double, std::milli>(Clock::now() - start).count(),
        "ms");
  for (const std::string& id : ids) client->Terminate(id, 0);
  for (const std::string& id : ids) client->AwaitState(id, v1::TASK_STATE_TERMINATED);
  for (const std::string& id : ids) client->Remove(id);
  for (const std::string& id : ids) client->AwaitRemoved(id);
}

TEST_CASE("processes") {
  ShimProcess shim({.runtime = "process"});
  Measure("process", "", shim);
}

TEST_CASE("containers") {
  const auto fixture = DockerFixture::Make();
  if (fixture) Measure("docker", testing::kBusyboxImage, fixture->shim);
}

}  // namespace
}  // namespace dstack::shim
