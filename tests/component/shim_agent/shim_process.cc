#include "tests/component/shim_agent/shim_process.h"

#include <chrono>

#include <catch2/catch.hpp>
#include <grpcpp/grpcpp.h>
#include <signal.h>

#include "libs/base/file.h"
#include "libs/base/uuid.h"
#include "libs/testing/await.h"
#include "libs/testing/paths.h"

namespace dstack::shim {
namespace {

using namespace std::chrono_literals;

constexpr auto kPatience = 30s;

}  // namespace

ShimProcess::ShimProcess(Settings settings) : settings_(std::move(settings)) {}

ShimProcess::~ShimProcess() {
  // Politely, so that it ends its helpers.
  if (process_) static_cast<void>(process_->Terminate(kPatience).ok());
}

std::vector<std::string> ShimProcess::Command() const {
  std::vector<std::string> command = {testing::Binary("dstack-shim"),
                                      "--home",
                                      home(),
                                      "--runtime",
                                      settings_.runtime,
                                      "--runner-binary",
                                      settings_.runtime == "process"
                                          ? testing::Binary("dstack-runner")
                                          : testing::StaticBinary("dstack-runner"),
                                      "--log-level",
                                      "debug",
                                      // A registry that is not there is not waited for.
                                      "--pull-attempts",
                                      "1"};
  if (!settings_.base_image.empty()) {
    command.insert(command.end(), {"--base-image", settings_.base_image});
  }
  if (settings_.has_ssh) {
    command.insert(command.end(),
                   {"--ssh-bundle-dir", testing::BuildDir() + "/share/dstack/ssh-bundle"});
  }
  command.insert(command.end(), settings_.extra_args.begin(), settings_.extra_args.end());
  return command;
}

void ShimProcess::Start(const std::string& failpoints) {
  std::vector<std::string> env = process::CurrentEnvironment();
  std::erase_if(env, [](const std::string& entry) { return entry.starts_with("DOCKER_HOST="); });
  if (!settings_.docker_host.empty()) env.push_back("DOCKER_HOST=" + settings_.docker_host);
  env.insert(env.end(), settings_.env.begin(), settings_.env.end());
  if (!failpoints.empty()) env.push_back("DSTACK_FAILPOINTS=" + failpoints);
  auto process = process::Subprocess::Start(Command(),
                                            {.env = env,
                                             .stdout_mode = process::Output::kInherit,
                                             .stderr_mode = process::Output::kInherit});
  REQUIRE(process.ok());
  process_.emplace(*std::move(process));
  testing::Await(kPatience, [&] {
    if (process_->Poll()) return true;
    // The socket of a shim that was killed still has its file.
    const auto channel = grpc::CreateChannel(Target(), grpc::InsecureChannelCredentials());
    return channel->WaitForConnected(std::chrono::system_clock::now() + 100ms);
  });
}

void ShimProcess::AwaitCrash() { REQUIRE(process_->WaitUntil(base::DeadlineIn(kPatience)).ok()); }

void ShimProcess::Kill() {
  static_cast<void>(process_->Kill(SIGKILL).ok());
  static_cast<void>(process_->WaitUntil(base::DeadlineIn(kPatience)).ok());
  // The destructor would kill the group; what the shim started has sessions of its own.
  process_.reset();
}

process::Exit ShimProcess::Stop() {
  REQUIRE(process_->Kill(SIGTERM).ok());
  const auto exit = process_->WaitUntil(base::DeadlineIn(kPatience));
  REQUIRE(exit.ok());
  process_.reset();
  return *exit;
}

std::string ShimProcess::shim_id() const {
  std::string id = base::ReadFile(home() + "/shim_id").value_or("");
  while (!id.empty() && id.back() == '\n') id.pop_back();
  return id;
}

v1::TaskSpec MakeTask(const std::string& image) {
  v1::TaskSpec task;
  task.set_task_id(base::NewUuid());
  task.set_name("test-0-0");
  task.set_image(image);
  task.set_network_mode(v1::NETWORK_MODE_BRIDGE);
  task.set_runner_token("token-" + base::NewUuid());
  return task;
}

}  // namespace dstack::shim
