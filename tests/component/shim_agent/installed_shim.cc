#include "tests/component/shim_agent/installed_shim.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <utility>

#include <catch2/catch.hpp>

#include "libs/base/file.h"
#include "libs/base/sha256.h"
#include "libs/process/reaper.h"
#include "libs/testing/paths.h"

namespace dstack::shim {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kDigits = 12;
constexpr std::size_t kChunkBytes = 1U << 20;
constexpr std::size_t kLargestProgram = std::size_t{1} << 30;

v1::ComponentDigest DigestOf(v1::Component component, const std::string& content) {
  v1::ComponentDigest digest;
  digest.set_component(component);
  digest.set_sha256(base::Sha256Hex(content));
  return digest;
}

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

}  // namespace

std::string Stripped(const std::string& program) {
  const testing::TempDir dir;
  const std::string target = dir.Path("program");
  const auto done = process::RunChecked({"strip", "-s", "-o", target, program}, 60s);
  const auto text = base::ReadFile(done.ok() ? target : program, kLargestProgram);
  REQUIRE(text.ok());
  return *text;
}

const Programs& ThesePrograms() {
  static const Programs programs{.shim = Stripped(testing::Binary("dstack-shim")),
                                 .runner = Stripped(testing::StaticBinary("dstack-runner"))};
  return programs;
}

Programs OtherPrograms() {
  Programs programs = ThesePrograms();
  programs.shim += "x";
  programs.runner += "x";
  return programs;
}

const Programs& NextPrograms() {
  const std::string dir = testing::BuildDir() + "/test-bin/";
  static const Programs programs{.shim = Stripped(dir + "next_shim"),
                                 .runner = Stripped(dir + "next_runner")};
  return programs;
}

InstalledShim::InstalledShim(Settings settings) : settings_(std::move(settings)) {
  REQUIRE(base::MakeDirs(home() + "/bin", 0700).ok());
  std::vector<std::string> command = {Install("dstack-shim", ThesePrograms().shim),
                                      "--home",
                                      home(),
                                      "--runtime",
                                      settings_.docker_host.empty() ? "process" : "docker"};
  command.insert(command.end(),
                 {"--runner-binary", Install("dstack-runner", ThesePrograms().runner)});
  command.insert(command.end(), settings_.flags.begin(), settings_.flags.end());
  command.emplace_back("--supervise");
  REQUIRE(base::WriteFileAtomic(home() + "/start-shim", "exec " + command[0] + "\n").ok());
  std::vector<std::string> env = process::CurrentEnvironment();
  std::erase_if(env, [](const std::string& entry) { return entry.starts_with("DOCKER_HOST="); });
  if (!settings_.docker_host.empty()) env.push_back("DOCKER_HOST=" + settings_.docker_host);
  env.push_back("BAD_SHIM=" + settings_.bad_shim_mode);
  auto supervisor = process::Subprocess::Start(command,
                                               {.env = env,
                                                .stdout_mode = process::Output::kInherit,
                                                .stderr_mode = process::Output::kInherit});
  REQUIRE(supervisor.ok());
  supervisor_.emplace(*std::move(supervisor));
}

InstalledShim::~InstalledShim() { static_cast<void>(supervisor_->Terminate(30s).ok()); }

std::string InstalledShim::Path(const std::string& name, const std::string& content) const {
  return home() + "/bin/" + name + "-" + base::Sha256Hex(content).substr(0, kDigits);
}

std::optional<pid_t> InstalledShim::ShimPid() const {
  const auto children = process::ChildrenOf(supervisor_->pid());
  return children.size() == 1 ? std::optional(children[0]) : std::nullopt;
}

std::string InstalledShim::RunningProgram() const {
  std::error_code error;
  const auto pid = ShimPid();
  if (!pid) return "";
  return std::filesystem::read_symlink("/proc/" + std::to_string(*pid) + "/exe", error).string();
}

std::string InstalledShim::Install(const std::string& name, const std::string& content) {
  const std::string path = Path(name, content);
  REQUIRE(base::WriteFileAtomic(path, content, 0755).ok());
  return path;
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

void Reconnect(std::optional<ShimClient>& client, const InstalledShim& shim) {
  client->AwaitClosed();
  // A shim that leaves still takes connections for a moment.
  do {
    client.reset();
    client.emplace(shim.Target());
  } while (!client->AwaitSyncedOrClosed());
}

}  // namespace dstack::shim
