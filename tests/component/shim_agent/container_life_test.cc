// What a container gets and what it cannot reach, on a real engine.
#include <chrono>
#include <string>

#include <arpa/inet.h>
#include <catch2/catch.hpp>
#include <fmt/format.h>
#include <netinet/in.h>
#include <nlohmann/json.hpp>
#include <sys/socket.h>
#include <sys/stat.h>

#include "libs/base/file.h"
#include "libs/net/free_port.h"
#include "tests/component/runner_agent/session_client.h"
#include "tests/component/shim_agent/docker_fixture.h"

namespace dstack::shim {
namespace {

using namespace std::chrono_literals;
using testing::kBusyboxImage;

// Runs a shell script as the task's job and returns what it printed.
std::string RunScript(DockerFixture& fixture, const v1::TaskSpec& task, const std::string& script) {
  fixture.client->Submit(task);
  const auto running = fixture.client->AwaitState(task.task_id(), v1::TASK_STATE_RUNNING);
  runner::ServerStore store;
  runner::SessionClient session("unix:" + running.runner_socket(), task.runner_token(), store);
  session.Submit(runner::MakeShellJob(script));
  session.AwaitFilesNeeded();
  session.StartJob();
  session.AwaitState(runner::v1::JOB_STATE_FINISHED);
  session.AwaitEndOfLogs();
  session.AckEnd();
  session.AwaitClosed();
  fixture.client->AwaitState(task.task_id(), v1::TASK_STATE_TERMINATED);
  return store.text[common::v1::LOG_SOURCE_JOB];
}

// Options of the file system at /dev/shm, and its size in KiB.
constexpr char kShmScript[] =
    "grep ' /dev/shm ' /proc/mounts | tail -n 1; df -k /dev/shm | tail -n 1";

TEST_CASE("S16 an image without sshd has OpenSSH") {
  const auto fixture = DockerFixture::Ready({.has_ssh = true});
  if (!fixture) return;
  const v1::TaskSpec task = MakeTask(kBusyboxImage);
  const auto running = fixture->Run(task);
  REQUIRE(running.ports_size() == 1);
  runner::ServerStore store;
  runner::SessionClient session("unix:" + running.runner_socket(), task.runner_token(), store);
  session.Submit(runner::MakeShellJob("sleep 600"));
  session.AwaitFilesNeeded();
  session.StartJob();
  session.AwaitSshPort();
  const auto banner = [&]() -> std::string {
    const base::UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const auto port = static_cast<std::uint16_t>(running.ports(0).host_port());
    sockaddr_in address{.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const timeval limit{.tv_sec = 2};
    ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) return "";
    char text[64] = {};
    return ::recv(fd.get(), text, sizeof(text) - 1, 0) > 0 ? text : "";
  };
  testing::Await(20s, [&] { return banner().starts_with("SSH-2.0-OpenSSH"); });
}

TEST_CASE("S17 /dev/shm is 64 MiB and noexec when no size is given") {
  const auto fixture = DockerFixture::Ready();
  if (!fixture) return;
  const std::string text = RunScript(*fixture, MakeTask(kBusyboxImage), kShmScript);
  INFO(text);
  CHECK(text.find("noexec") != std::string::npos);
  CHECK(text.find(" 65536 ") != std::string::npos);
}

TEST_CASE("S18 /dev/shm has the requested size and is executable when a size is given") {
  const auto fixture = DockerFixture::Ready();
  if (!fixture) return;
  v1::TaskSpec task = MakeTask(kBusyboxImage);
  task.set_shm_size_bytes(32 << 20);
  const std::string text = RunScript(*fixture, task, kShmScript);
  INFO(text);
  CHECK(text.find("noexec") == std::string::npos);
  CHECK(text.find(" 32768 ") != std::string::npos);
}

TEST_CASE("capabilities, limits, ports, environment and read-only mounts reach the container") {
  const auto fixture = DockerFixture::Ready({.env = {"http_proxy=http://proxy.test:3128"}});
  if (!fixture) return;
  testing::TempDir dir;
  v1::TaskSpec task = MakeTask(kBusyboxImage);
  task.add_capabilities("SYS_PTRACE");
  (*task.mutable_env())["GREETING"] = "a $(b) 'c'";
  task.set_memory_bytes(64 << 20);
  task.set_cpu_milli(500);
  const auto port = net::FreePort();
  REQUIRE(port.ok());
  task.add_published_ports()->set_container_port(80);
  task.mutable_published_ports(0)->set_host_port(*port);
  (*task.mutable_labels())["team"] = "x";
  auto* mount = task.add_mounts();
  mount->set_host_path(dir.Path("made/for/it"));
  mount->set_container_path("/mounted");
  mount->set_is_read_only(true);
  const std::string text = RunScript(*fixture,
                                     task,
                                     "grep CapBnd /proc/self/status; "
                                     "echo \"says $GREETING\"; echo through $http_proxy; "
                                     "cat /sys/fs/cgroup/memory.max "
                                     "/sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null; "
                                     "touch /mounted/x || echo refused; "
                                     "echo pid $(readlink /proc/1/exe)");
  INFO(text);
  CHECK(text.find("refused") != std::string::npos);
  CHECK(text.find("says a $(b) 'c'\n") != std::string::npos);
  CHECK(text.find("through http://proxy.test:3128\n") != std::string::npos);
  CHECK(text.find("67108864\n") != std::string::npos);
  // The supervisor is the init.
  CHECK(text.find("pid /usr/local/bin/dstack-runner") != std::string::npos);
  // CAP_SYS_PTRACE is bit 19.
  const std::size_t at = text.find("CapBnd:\t");
  REQUIRE(at != text.npos);
  CHECK((std::stoull(text.substr(at + 8, 16), nullptr, 16) >> 19U & 1U) == 1);
  struct stat info {};
  REQUIRE(::stat(dir.Path("made/for/it").c_str(), &info) == 0);
  CHECK((info.st_mode & 0777U) == 0777);
  REQUIRE(::stat(dir.Path("made/for").c_str(), &info) == 0);
  CHECK((info.st_mode & 0777U) == 0755);
  const auto status = fixture->client->Status(task.task_id());
  REQUIRE(status.ports_size() == 1);
  CHECK(status.ports(0).host_port() == *port);
  const auto container =
      docker::InspectContainer(fixture->engine->client(), status.container_id(), {});
  REQUIRE(container.ok());
  CHECK(container->labels.at("team") == "x");
  const auto description = fixture->engine->client().Call(
      {.path = "/containers/" + status.container_id() + "/json"}, {});
  REQUIRE(description.ok());
  CHECK(description->body.find("\"NanoCpus\":500000000,") != std::string::npos);
}

TEST_CASE("a port that is taken ends the task with its own reason") {
  const auto fixture = DockerFixture::Ready();
  if (!fixture) return;
  v1::TaskSpec task = MakeTask(kBusyboxImage);
  const auto port = net::FreePort();
  REQUIRE(port.ok());
  task.add_published_ports()->set_container_port(80);
  task.mutable_published_ports(0)->set_host_port(*port);
  fixture->Run(task);
  v1::TaskSpec second = MakeTask(kBusyboxImage);
  second.set_name("test-1-0");
  *second.mutable_published_ports() = task.published_ports();
  fixture->client->Submit(second);
  const auto ended = fixture->client->AwaitState(second.task_id(), v1::TASK_STATE_TERMINATED);
  INFO(ended.ShortDebugString());
  CHECK(ended.termination_reason() == v1::TASK_TERMINATION_REASON_PORTS_BINDING_FAILED);
  CHECK(ended.termination_message().find(fmt::format("{}", *port)) != std::string::npos);
}

TEST_CASE("privileges that the kernel does not give fail the task by the field's name") {
  const auto fixture = DockerFixture::Ready();
  if (!fixture) return;
  v1::TaskSpec task = MakeTask(kBusyboxImage);
  task.set_needs_docker(true);
  fixture->client->Submit(task);
  testing::Await(30s, [&] {
    const auto state = fixture->client->Status(task.task_id()).state();
    return state == v1::TASK_STATE_RUNNING || state == v1::TASK_STATE_TERMINATED;
  });
  const auto status = fixture->client->Status(task.task_id());
  if (status.state() == v1::TASK_STATE_RUNNING) return;  // this kernel gives them
  INFO(status.ShortDebugString());
  CHECK(status.termination_reason() == v1::TASK_TERMINATION_REASON_EXECUTOR_ERROR);
  CHECK(status.termination_message().find("needs_docker") != std::string::npos);
  CHECK(status.termination_message().find("CAP_") != std::string::npos);
}

TEST_CASE("a privileged task has the host's devices, and one with needs_docker an engine inside") {
  auto engine = testing::MiniDocker::StartPrivileged();
  if (!engine.ok()) return testing::Skip(std::string(engine.status().message()));
  const std::string host = (*engine)->host();
  DockerFixture fixture(*std::move(engine), {.docker_host = host});
  fixture.Start();
  fixture.Connect();

  REQUIRE(fixture.engine->EnsureBusybox().ok());
  v1::TaskSpec privileged = MakeTask(kBusyboxImage);
  privileged.set_is_privileged(true);
  CHECK(RunScript(fixture,
                  privileged,
                  "[ -e /dev/kmsg ] && mkdir /m && mount -t tmpfs x /m && echo mine") == "mine\n");

  REQUIRE(fixture.engine->EnsureDocker().ok());
  const auto count_volumes = [&] {
    const auto answer = fixture.engine->client().Call({.path = "/volumes"}, {});
    REQUIRE(answer.ok());
    return nlohmann::json::parse(answer->body).at("Volumes").size();
  };
  v1::TaskSpec task = MakeTask(testing::kDockerImage);
  task.set_name("test-1-0");
  task.set_needs_docker(true);
  const std::string output =
      RunScript(fixture,
                task,
                "dockerd >/var/log/dockerd.log 2>&1 &\n"
                "until docker info >/dev/null 2>&1; do\n"
                "  kill -0 $! || { cat /var/log/dockerd.log; exit 1; }; sleep 0.05\n"
                "done\n"
                "docker info --format '{{.Driver}} {{.DockerRootDir}}'\n"
                "mkdir -p /image/bin && cp /bin/busybox /image/bin/sh\n"
                "tar -C /image -c . | docker import - inner >/dev/null\n"
                "docker run --rm --network none inner sh -c 'echo deep inside'");
  // Not on the container's own file system, where layers cannot be stacked.
  CHECK(output == "overlay2 /var/lib/docker\ndeep inside\n");
  CHECK(count_volumes() == 1);
  fixture.client->Remove(task.task_id());
  fixture.client->AwaitRemoved(task.task_id());
  CHECK(count_volumes() == 0);
}

// A job that is the superuser in its container and wants out.
TEST_CASE(
    "W12 a hostile container reaches neither the shim, nor other tasks, nor the host's devices") {
  const auto fixture = DockerFixture::Ready({.has_ssh = true});
  if (!fixture) return;
  const v1::TaskSpec victim = MakeTask(kBusyboxImage);
  fixture->Run(victim);
  const std::string script = fmt::format(
      "find / -xdev -name shim.sock -o -xdev -name docker.sock -o -xdev -path '*{0}*' 2>/dev/null; "
      "ls -d {1} /dstack/runner/../../tasks 2>/dev/null; "
      // No socket but its own runner's, no key or token but those of its own runner and sshd.
      "find / \\( -path /proc -o -path /sys -o -path /dstack/runner -o -path /dstack/sshd \\) "
      "-prune -o "
      "\\( -type s -o -name 'authorized_keys*' -o -name 'id_*' -o -name token \\) -print "
      "2>/dev/null; "
      "find /dstack/runner -type s | grep -v '^/dstack/runner/runner.sock$'; "
      // The devices of the host: by number, whatever the container's /dev lacks.
      "for n in '7 0' '8 0' '253 0' '254 0' '259 0'; do mknod /tmp/disk b $n 2>/dev/null && "
      "dd if=/tmp/disk of=/dev/null bs=512 count=1 2>/dev/null && echo read disk $n; "
      "rm -f /tmp/disk; done; "
      "mknod /tmp/mem c 1 1 2>/dev/null && dd if=/tmp/mem of=/dev/null bs=1 count=1 2>/dev/null && "
      "echo read memory; "
      "mount -t tmpfs none /mnt 2>/dev/null && echo mounted; "
      "(echo x >/usr/local/bin/dstack-runner) 2>/dev/null && echo wrote the runner; "
      "touch /opt/dstack/ssh/x 2>/dev/null && echo wrote the ssh; "
      "echo done",
      victim.task_id(),
      fixture->shim.home());
  for (const auto mode : {v1::NETWORK_MODE_HOST, v1::NETWORK_MODE_BRIDGE}) {
    INFO(v1::NetworkMode_Name(mode));
    v1::TaskSpec hostile = MakeTask(kBusyboxImage);
    hostile.set_name(fmt::format("test-1-{}", static_cast<int>(mode)));
    hostile.set_network_mode(mode);
    CHECK(RunScript(*fixture, hostile, script) == "done\n");
  }
  // Nor does the environment or the description of the container show a secret.
  const auto description = fixture->engine->client().Call(
      {.path = "/containers/" + fixture->client->Status(victim.task_id()).container_id() + "/json"},
      {});
  REQUIRE(description.ok());
  CHECK(description->body.find(victim.runner_token()) == std::string::npos);

  v1::TaskSpec mounter = MakeTask(kBusyboxImage);
  mounter.set_name("test-2-0");
  auto* mount = mounter.add_mounts();
  mount->set_host_path(fixture->shim.home() + "/tasks");
  mount->set_container_path("/x");
  fixture->client->Submit(mounter);
  const auto refused = fixture->client->AwaitState(mounter.task_id(), v1::TASK_STATE_TERMINATED);
  CHECK(refused.termination_message().find("mounts[0].host_path") != std::string::npos);
}

}  // namespace
}  // namespace dstack::shim
