#include "tests/contract/container_runtime/runtime_harness.h"

#include <chrono>
#include <fstream>
#include <optional>

#include <catch2/catch.hpp>

#include "libs/base/file.h"
#include "libs/base/uuid.h"
#include "libs/docker/client.h"
#include "libs/testing/await.h"
#include "libs/testing/mini_docker.h"
#include "libs/testing/paths.h"
#include "libs/testing/temp_dir.h"
#include "services/shim/adapters/docker_runtime.h"
#include "services/shim/adapters/fake_container_runtime.h"
#include "services/shim/adapters/process_runtime.h"
#include "services/shim/domain/container_name.h"
#include "services/shim/domain/shim_home.h"

namespace dstack::shim {
namespace {

using namespace std::chrono_literals;

LaunchSpec NewLaunch(const std::string& image) {
  LaunchSpec launch;
  launch.task.set_task_id(base::NewUuid());
  launch.task.set_name("contract-0-0");
  launch.task.set_image(image);
  launch.task.set_network_mode(v1::NETWORK_MODE_BRIDGE);
  launch.container_name = ContainerName("contract-0-0", launch.task.task_id());
  return launch;
}

class FakeHarness final : public RuntimeHarness {
 public:
  ContainerRuntime& runtime() override { return runtime_; }
  void Reopen() override {}
  LaunchSpec MakeLaunch() override { return NewLaunch("fake:1"); }
  void MakeStubborn(const LaunchSpec&) override { runtime_.IgnoreSigterm(true); }
  void AwaitUp(const LaunchSpec&) override {}
  void End(const LaunchSpec& launch, int exit_status) override {
    runtime_.Exit(launch.task.task_id(), exit_status);
  }

 private:
  FakeContainerRuntime runtime_;
};

// The two real ones: directories below a home, and a program that stands in for the runner.
class RealHarness : public RuntimeHarness {
 public:
  LaunchSpec MakeLaunch() override {
    LaunchSpec launch = NewLaunch(image());
    launch.runner_dir = home_.RunnerDir(launch.task.task_id());
    REQUIRE(base::MakeDirs(launch.runner_dir, 0700).ok());
    launched_.push_back(launch.task.task_id());
    return launch;
  }
  void MakeStubborn(const LaunchSpec& launch) override {
    std::ofstream(launch.runner_dir + "/stubborn") << "1";
  }
  void AwaitUp(const LaunchSpec& launch) override {
    testing::Await(20s, [&] { return base::Exists(launch.runner_dir + "/up"); });
  }
  void End(const LaunchSpec& launch, int exit_status) override {
    std::ofstream(launch.runner_dir + "/exit") << exit_status << "\n";
  }

 protected:
  virtual std::string image() const = 0;
  void RemoveAll() {
    for (const std::string& task_id : launched_) {
      static_cast<void>(runtime().Remove(task_id).ok());
    }
  }
  static std::string RunnerBinary() { return testing::BuildDir() + "/test-bin/fake_runner"; }

  testing::TempDir dir_;
  const ShimHome home_{dir_.path()};
  const std::string shim_id_ = base::NewUuid();
  std::vector<std::string> launched_;
};

class ProcessHarness final : public RealHarness {
 public:
  ProcessHarness() { Reopen(); }
  ~ProcessHarness() override { RemoveAll(); }
  ContainerRuntime& runtime() override { return *runtime_; }
  void Reopen() override {
    runtime_.emplace(home_,
                     ProcessRuntimeSettings{.shim_id = shim_id_, .runner_binary = RunnerBinary()});
  }

 protected:
  std::string image() const override { return ""; }

 private:
  std::optional<ProcessRuntime> runtime_;
};

class DockerHarness final : public RealHarness {
 public:
  explicit DockerHarness(std::unique_ptr<testing::MiniDocker> engine) : engine_(std::move(engine)) {
    const absl::Status image = engine_->EnsureBusybox();
    INFO(image);
    REQUIRE(image.ok());
    Reopen();
  }
  ~DockerHarness() override { RemoveAll(); }
  ContainerRuntime& runtime() override { return *runtime_; }
  void Reopen() override {
    auto client = docker::Client::Connect(engine_->client().endpoint());
    REQUIRE(client.ok());
    auto info = client->Info();
    REQUIRE(info.ok());
    runtime_ = std::make_unique<DockerRuntime>(
        *client,
        *info,
        DockerRuntimeSettings{.shim_id = shim_id_, .runner_binary = RunnerBinary()});
  }

 protected:
  std::string image() const override { return testing::kBusyboxImage; }

 private:
  std::unique_ptr<testing::MiniDocker> engine_;
  std::unique_ptr<DockerRuntime> runtime_;
};

std::unique_ptr<RuntimeHarness> MakeDocker() {
  auto engine = testing::MiniDocker::Start();
  if (engine.ok()) return std::make_unique<DockerHarness>(*std::move(engine));
  testing::Skip(std::string(engine.status().message()));
  return nullptr;
}

}  // namespace

std::vector<NamedHarness> AllHarnesses() {
  return {{"fake", [] { return std::make_unique<FakeHarness>(); }},
          {"process", [] { return std::make_unique<ProcessHarness>(); }},
          {"docker", MakeDocker}};
}

}  // namespace dstack::shim
