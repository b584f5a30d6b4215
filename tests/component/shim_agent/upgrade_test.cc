// A shim goes over to other binaries while its tasks go on.
#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <catch2/catch.hpp>
#include <signal.h>

#include "libs/base/file.h"
#include "libs/base/sha256.h"
#include "libs/base/status.h"
#include "libs/process/reaper.h"
#include "libs/process/subprocess.h"
#include "libs/testing/await.h"
#include "libs/testing/paths.h"
#include "libs/testing/temp_dir.h"
#include "tests/component/runner_agent/session_client.h"
#include "tests/component/shim_agent/shim_client.h"
#include "tests/component/shim_agent/shim_process.h"

namespace dstack::shim {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kDigits = 12;
constexpr std::size_t kChunkBytes = 1U << 20;
constexpr std::size_t kLargestProgram = std::size_t{1} << 30;

// A program without what makes a debug build large.
std::string Stripped(const std::string& program) {
  const testing::TempDir dir;
  const std::string target = dir.Path("program");
  const auto done = process::RunChecked({"strip", "-s", "-o", target, program}, 60s);
  const auto text = base::ReadFile(done.ok() ? target : program, kLargestProgram);
  REQUIRE(text.ok());
  return *text;
}

struct Programs {
  std::string shim;
  std::string runner;
};

const Programs& ThesePrograms() {
  static const Programs programs{.shim = Stripped(testing::Binary("dstack-shim")),
                                 .runner = Stripped(testing::Binary("dstack-runner"))};
  return programs;
}

// Runs as well as the one before; the kernel does not look behind the last section.
Programs OtherPrograms() {
  Programs programs = ThesePrograms();
  programs.shim += "x";
  programs.runner += "x";
  return programs;
}

v1::ComponentDigest DigestOf(v1::Component component, const std::string& content) {
  v1::ComponentDigest digest;
  digest.set_component(component);
  digest.set_sha256(base::Sha256Hex(content));
  return digest;
}

// A shim as a server installs it: programs with digests in their names, and a supervisor.
class InstalledShim {
 public:
  explicit InstalledShim(std::vector<std::string> flags = {}, const std::string& mode = "") {
    REQUIRE(base::MakeDirs(home() + "/bin", 0700).ok());
    std::vector<std::string> command = {
        Install("dstack-shim", ThesePrograms().shim), "--home", home(), "--runtime", "process"};
    command.insert(command.end(),
                   {"--runner-binary", Install("dstack-runner", ThesePrograms().runner)});
    command.insert(command.end(), flags.begin(), flags.end());
    command.emplace_back("--supervise");
    REQUIRE(base::WriteFileAtomic(home() + "/start-shim", "exec " + command[0] + "\n").ok());
    std::vector<std::string> env = process::CurrentEnvironment();
    env.push_back("BAD_SHIM=" + mode);
    auto supervisor = process::Subprocess::Start(command,
                                                 {.env = env,
                                                  .stdout_mode = process::Output::kInherit,
                                                  .stderr_mode = process::Output::kInherit});
    REQUIRE(supervisor.ok());
    supervisor_.emplace(*std::move(supervisor));
  }
  ~InstalledShim() { static_cast<void>(supervisor_->Terminate(30s).ok()); }

  std::string home() const { return dir_.Path("h"); }
  std::string Target() const { return "unix:" + home() + "/shim.sock"; }
  std::string Path(const std::string& name, const std::string& content) const {
    return home() + "/bin/" + name + "-" + base::Sha256Hex(content).substr(0, kDigits);
  }
  std::optional<pid_t> ShimPid() const {
    const auto children = process::ChildrenOf(supervisor_->pid());
    return children.size() == 1 ? std::optional(children[0]) : std::nullopt;
  }
  std::string RunningProgram() const {
    std::error_code error;
    const auto pid = ShimPid();
    if (!pid) return "";
    return std::filesystem::read_symlink("/proc/" + std::to_string(*pid) + "/exe", error).string();
  }

 private:
  std::string Install(const std::string& name, const std::string& content) {
    const std::string path = Path(name, content);
    REQUIRE(base::WriteFileAtomic(path, content, 0755).ok());
    return path;
  }

  testing::TempDir dir_;
  std::optional<process::Subprocess> supervisor_;
};

// The server's side.
void Send(ShimClient& client, v1::Component component, const std::string& content) {
  for (std::size_t offset = 0; offset < content.size(); offset += kChunkBytes) {
    v1::SessionRequest request;
    auto* chunk = request.mutable_component_chunk();
    *chunk->mutable_component() = DigestOf(component, content);
    chunk->set_total_bytes(content.size());
    chunk->set_offset(offset);
    chunk->set_data(content.substr(offset, kChunkBytes));
    client.Write(request);
  }
}

void Activate(ShimClient& client, const Programs& programs) {
  v1::SessionRequest request;
  *request.mutable_activate()->add_components() = DigestOf(v1::COMPONENT_SHIM, programs.shim);
  *request.mutable_activate()->add_components() = DigestOf(v1::COMPONENT_RUNNER, programs.runner);
  client.Write(request);
}

void Upgrade(ShimClient& client, const Programs& programs) {
  Send(client, v1::COMPONENT_SHIM, programs.shim);
  Send(client, v1::COMPONENT_RUNNER, programs.runner);
  client.AwaitComponent(base::Sha256Hex(programs.shim), v1::COMPONENT_STATE_STAGED);
  client.AwaitComponent(base::Sha256Hex(programs.runner), v1::COMPONENT_STATE_STAGED);
  Activate(client, programs);
}

v1::TaskSpec StartJob(ShimClient& client, const std::string& script, const std::string& word) {
  v1::TaskSpec task = MakeTask("");
  task.set_network_mode(v1::NETWORK_MODE_HOST);
  client.Submit(task);
  const auto running = client.AwaitState(task.task_id(), v1::TASK_STATE_RUNNING);
  runner::ServerStore store;
  runner::SessionClient session("unix:" + running.runner_socket(), task.runner_token(), store);
  session.Submit(runner::MakeShellJob(script));
  session.AwaitFilesNeeded();
  session.StartJob();
  session.AwaitText(common::v1::LOG_SOURCE_JOB, word);
  return task;
}

void EndTask(ShimClient& client, const std::string& task_id) {
  client.Terminate(task_id, 0);
  client.AwaitState(task_id, v1::TASK_STATE_TERMINATED);
  client.Remove(task_id);
  client.AwaitRemoved(task_id);
}

// A session with the shim that comes after the one that `client` talks to.
void Reconnect(std::optional<ShimClient>& client, const InstalledShim& shim) {
  client->AwaitClosed();
  client.reset();
  client.emplace(shim.Target());
  client->AwaitSynced();
}

TEST_CASE("T5 a shim goes over to new binaries while a job runs") {
  const InstalledShim shim;
  std::optional<ShimClient> client(std::in_place, shim.Target());
  CHECK(client->AwaitHello().capabilities().has_upgrade());
  const v1::TaskSpec task = StartJob(*client, "echo begun; sleep 600", "begun");
  const v1::TaskStatus before = client->Status(task.task_id());
  const Programs programs = OtherPrograms();
  Upgrade(*client, programs);
  client->AwaitUpgrade(v1::UPGRADE_STATE_ACTIVATING);
  Reconnect(client, shim);
  const auto components = client->AwaitHello().components();
  REQUIRE(components.size() == 2);
  CHECK(base::Sha256Hex(programs.shim).starts_with(components[0].sha256()));
  CHECK(base::Sha256Hex(programs.runner).starts_with(components[1].sha256()));
  CHECK(shim.RunningProgram() == shim.Path("dstack-shim", programs.shim));
  const auto after = client->AwaitState(task.task_id(), v1::TASK_STATE_RUNNING);
  CHECK(after.container_id() == before.container_id());
  client->AwaitUpgrade(v1::UPGRADE_STATE_ACTIVE);
  // Its task may still need the old runner.
  const std::string old_runner = shim.Path("dstack-runner", ThesePrograms().runner);
  CHECK(base::Exists(old_runner));
  EndTask(*client, task.task_id());
  testing::Await(20s, [&] { return !base::Exists(old_runner); });
  // What the host begins with after a reboot stays.
  CHECK(base::Exists(shim.Path("dstack-shim", ThesePrograms().shim)));
  CHECK(base::Exists(shim.Path("dstack-runner", programs.runner)));
}

TEST_CASE("a new shim that dies or hangs is followed by the old one, which says so") {
  const bool hangs = GENERATE(false, true);
  INFO(hangs);
  const InstalledShim shim({"--trial-limit", hangs ? "1" : "60"}, hangs ? "hang" : "");
  std::optional<ShimClient> client(std::in_place, shim.Target());
  const v1::TaskSpec task = StartJob(*client, "echo begun; sleep 600", "begun");
  const v1::TaskStatus before = client->Status(task.task_id());
  Programs programs = ThesePrograms();
  programs.shim = Stripped(testing::BuildDir() + "/test-bin/bad_shim");
  Upgrade(*client, programs);
  client->AwaitUpgrade(v1::UPGRADE_STATE_ACTIVATING);
  Reconnect(client, shim);
  const v1::UpgradeStatus status = client->AwaitUpgrade(v1::UPGRADE_STATE_ROLLED_BACK);
  INFO(status.message());
  CHECK(status.message().find(hangs ? "did not serve" : "exited with status 3") !=
        std::string::npos);
  REQUIRE(status.components_size() == 2);
  CHECK(base::Sha256Hex(programs.shim).starts_with(status.components(0).sha256()));
  CHECK(shim.RunningProgram() == shim.Path("dstack-shim", ThesePrograms().shim));
  const auto after = client->AwaitState(task.task_id(), v1::TASK_STATE_RUNNING);
  CHECK(after.container_id() == before.container_id());
  EndTask(*client, task.task_id());
}

TEST_CASE("a shim on trial that is killed before it has proved itself is taken for bad") {
  const InstalledShim shim;
  std::optional<ShimClient> client(std::in_place, shim.Target());
  const Programs programs = OtherPrograms();
  Upgrade(*client, programs);
  Reconnect(client, shim);
  ::kill(shim.ShimPid().value(), SIGKILL);
  Reconnect(client, shim);
  CHECK(client->AwaitUpgrade(v1::UPGRADE_STATE_ROLLED_BACK).message().find("signal 9") !=
        std::string::npos);
}

TEST_CASE("an activation that cannot work changes nothing") {
  const InstalledShim shim;
  ShimClient client(shim.Target());
  client.AwaitSynced();
  const auto pid = shim.ShimPid();
  Activate(client, OtherPrograms());
  CHECK(client.AwaitUpgrade(v1::UPGRADE_STATE_REFUSED).message().find("has not arrived") !=
        std::string::npos);
  CHECK(shim.ShimPid() == pid);
}

TEST_CASE("a shim that nobody would start again takes no other binaries") {
  ShimProcess shim({.runtime = "process"});
  shim.Start();
  ShimClient client(shim.Target());
  CHECK_FALSE(client.AwaitHello().capabilities().has_upgrade());
  Activate(client, OtherPrograms());
  CHECK(client.AwaitUpgrade(v1::UPGRADE_STATE_REFUSED).message().find("--supervise") !=
        std::string::npos);
}

}  // namespace
}  // namespace dstack::shim
