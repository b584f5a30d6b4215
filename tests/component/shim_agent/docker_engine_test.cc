// Pulls from a registry, and engines that go away.
#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>

#include <arpa/inet.h>
#include <catch2/catch.hpp>
#include <fmt/format.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>

#include "libs/docker/images.h"
#include "libs/net/free_port.h"
#include "libs/process/subprocess.h"
#include "libs/testing/temp_dir.h"
#include "tests/component/shim_agent/docker_fixture.h"

namespace dstack::shim {
namespace {

using namespace std::chrono_literals;
using testing::kBusyboxImage;

// A real registry on loopback that knows one user.
class Registry {
 public:
  // Null when the packages are not there.
  static std::unique_ptr<Registry> Start() {
    if (!process::FindProgram("docker-registry").ok() || !process::FindProgram("htpasswd").ok()) {
      testing::Skip("needs the packages docker-registry and apache2-utils");
      return nullptr;
    }
    return std::unique_ptr<Registry>(new Registry);
  }

  std::string Image() const { return fmt::format("127.0.0.1:{}/team/box:7", port_); }

  // Puts the busybox image into it and takes the copy away from the engine.
  void Fill(const docker::Client& engine) {
    const std::string repository = fmt::format("127.0.0.1:{}/team/box", port_);
    const auto call = [&](docker::HttpRequest request) {
      const auto response = engine.Call(std::move(request), {});
      INFO(response.status());
      REQUIRE(response.ok());
      CHECK(response->body.find("errorDetail") == std::string::npos);
    };
    call({.method = docker::Method::kPost,
          .path = fmt::format("/images/{}/tag?repo={}&tag=7",
                              docker::UrlEscape(kBusyboxImage),
                              docker::UrlEscape(repository))});
    call({.method = docker::Method::kPost,
          .path = fmt::format("/images/{}/push?tag=7", docker::UrlEscape(repository)),
          .headers = {"X-Registry-Auth: " + docker::RegistryAuthHeader({"user", "pass"})},
          .timeout = 60s});
    REQUIRE(docker::RemoveImage(engine, Image(), {}).ok());
  }

 private:
  Registry() {
    port_ = net::FreePort().value();
    const auto users = process::RunChecked({"htpasswd", "-Bbn", "user", "pass"}, 20s);
    REQUIRE(users.ok());
    std::ofstream(dir_.Path("users")) << *users;
    std::ofstream(dir_.Path("config.yml")) << fmt::format(
        "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {0}}}}}\n"
        "http: {{addr: '127.0.0.1:{1}'}}\n"
        "auth: {{htpasswd: {{realm: test, path: {0}/users}}}}\n",
        dir_.path(),
        port_);
    auto process =
        process::Subprocess::Start({"docker-registry", "serve", dir_.Path("config.yml")});
    REQUIRE(process.ok());
    process_.emplace(*std::move(process));
    testing::Await(20s, [&] { return net::IsListening(port_); });
  }

  testing::TempDir dir_;
  std::uint16_t port_ = 0;
  std::optional<process::Subprocess> process_;
};

TEST_CASE("an image is pulled with the task's own credentials") {
  const auto fixture = DockerFixture::Make();
  if (!fixture) return;
  const auto registry = Registry::Start();
  if (!registry) return;
  registry->Fill(fixture->engine->client());
  fixture->Start();
  fixture->Connect();
  ShimClient& client = *fixture->client;

  v1::TaskSpec anonymous = MakeTask(registry->Image());
  client.Submit(anonymous);
  auto ended = client.AwaitState(anonymous.task_id(), v1::TASK_STATE_TERMINATED);
  CHECK(ended.termination_reason() == v1::TASK_TERMINATION_REASON_CREATING_CONTAINER_ERROR);
  CHECK(ended.termination_message().find(registry->Image()) != std::string::npos);

  v1::TaskSpec wrong = MakeTask(registry->Image());
  wrong.mutable_registry_auth()->set_username("user");
  wrong.mutable_registry_auth()->set_password("sEcReT-and-wrong");
  client.Submit(wrong);
  ended = client.AwaitState(wrong.task_id(), v1::TASK_STATE_TERMINATED);
  CHECK(ended.termination_message().find("sEcReT") == std::string::npos);

  v1::TaskSpec right = MakeTask(registry->Image());
  right.mutable_registry_auth()->set_username("user");
  right.mutable_registry_auth()->set_password("pass");
  client.Submit(right);
  client.AwaitState(right.task_id(), v1::TASK_STATE_RUNNING);
  client.Terminate(right.task_id(), 0);
  client.AwaitState(right.task_id(), v1::TASK_STATE_TERMINATED);
  client.Remove(right.task_id());
  client.AwaitRemoved(right.task_id());
  CHECK(docker::RemoveImage(fixture->engine->client(), registry->Image(), {}).ok());
}

TEST_CASE("a pull that hangs is ended by terminate, at once, and goes on after a restart") {
  const auto fixture = DockerFixture::Make();
  if (!fixture) return;
  // Takes connections and says nothing.
  const base::UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  REQUIRE(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
  REQUIRE(::listen(listener.get(), 16) == 0);
  socklen_t size = sizeof(address);
  REQUIRE(::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0);

  fixture->Start();
  fixture->Connect();
  const v1::TaskSpec task = MakeTask(fmt::format("127.0.0.1:{}/slow:1", ntohs(address.sin_port)));
  fixture->client->Submit(task);
  fixture->client->AwaitState(task.task_id(), v1::TASK_STATE_PULLING);
  fixture->Restart();
  fixture->client->AwaitState(task.task_id(), v1::TASK_STATE_PULLING);
  const auto start = std::chrono::steady_clock::now();
  fixture->client->Terminate(task.task_id(), 60);
  const auto ended = fixture->client->AwaitState(task.task_id(), v1::TASK_STATE_TERMINATED);
  CHECK(ended.termination_reason() == v1::TASK_TERMINATION_REASON_TERMINATED_BY_SERVER);
  CHECK(std::chrono::steady_clock::now() - start < 3s);
}

TEST_CASE("the shim outlives its engine") {
  auto engine = testing::MiniDocker::StartPrivate();
  if (!engine.ok()) return testing::Skip(std::string(engine.status().message()));
  REQUIRE((*engine)->EnsureBusybox().ok());
  const std::string host = (*engine)->host();
  DockerFixture fixture(*std::move(engine), {.docker_host = host});
  fixture.Start();
  fixture.Connect();
  for (const int signal : {SIGTERM, SIGKILL}) {
    INFO(signal);
    const v1::TaskSpec task = MakeTask(kBusyboxImage);
    fixture.client->Submit(task);
    fixture.client->AwaitState(task.task_id(), v1::TASK_STATE_RUNNING);
    REQUIRE(fixture.engine->StopEngine(signal).ok());
    const absl::Status started = fixture.engine->StartEngine();
    INFO(started);
    REQUIRE(started.ok());
    // Without live-restore an engine ends its containers, at the latest when it comes back.
    fixture.client->AwaitState(task.task_id(), v1::TASK_STATE_TERMINATED);
    fixture.client->Remove(task.task_id());
    fixture.client->AwaitRemoved(task.task_id());
  }
  const v1::TaskSpec next = MakeTask(kBusyboxImage);
  fixture.client->Submit(next);
  fixture.client->AwaitState(next.task_id(), v1::TASK_STATE_RUNNING);
}

}  // namespace
}  // namespace dstack::shim
