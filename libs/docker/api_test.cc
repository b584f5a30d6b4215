// Requests and answers of the engine as text: no engine is needed.
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "libs/base/status.h"
#include "libs/docker/client.h"
#include "libs/docker/containers.h"
#include "libs/docker/endpoint.h"
#include "libs/docker/images.h"

namespace dstack::docker {
namespace {

using nlohmann::json;

TEST_CASE("endpoints") {
  const auto socket = ParseEndpoint("unix:///run/user/1000/docker.sock");
  REQUIRE(socket.ok());
  CHECK(socket->socket_path == "/run/user/1000/docker.sock");
  CHECK(socket->ToString() == "unix:///run/user/1000/docker.sock");
  const auto tcp = ParseEndpoint("tcp://127.0.0.1:2375");
  REQUIRE(tcp.ok());
  CHECK(tcp->address == "127.0.0.1");
  CHECK(tcp->port == 2375);
  CHECK(ParseEndpoint("tcp://localhost:1/")->ToString() == "tcp://127.0.0.1:1");
  for (const char* text : {"",
                           "docker.sock",
                           "unix://docker.sock",
                           "ssh://host",
                           "tcp://",
                           "tcp://host",
                           "tcp://host:1",
                           "tcp://127.0.0.1:0",
                           "tcp://127.0.0.1:99999",
                           "tcp://host:1/path"}) {
    INFO(text);
    CHECK(ParseEndpoint(text).status().code() == absl::StatusCode::kInvalidArgument);
  }
}

TEST_CASE("an image without tag or digest gets the tag latest") {
  CHECK(WithTag("busybox") == "busybox:latest");
  CHECK(WithTag("busybox:1") == "busybox:1");
  CHECK(WithTag("localhost:5000/img") == "localhost:5000/img:latest");
  CHECK(WithTag("localhost:5000/img:2") == "localhost:5000/img:2");
  CHECK(WithTag("img@sha256:abc") == "img@sha256:abc");
  CHECK(IsMovingTag("img"));
  CHECK(IsMovingTag("a/img:latest"));
  CHECK_FALSE(IsMovingTag("a/img:latest-cuda"));
  CHECK_FALSE(IsMovingTag("img@sha256:abc"));
}

TEST_CASE("credentials are encoded as the engine wants them") {
  CHECK(RegistryAuthHeader({"user", "p\"?>~"}) ==
        "eyJwYXNzd29yZCI6InBcIj8-fiIsInVzZXJuYW1lIjoidXNlciJ9");
}

TEST_CASE("values are escaped") { CHECK(UrlEscape("a/b:c d%") == "a%2Fb%3Ac%20d%25"); }

TEST_CASE("errors keep the engine's words") {
  const struct {
    int status_code;
    const char* body;
    absl::StatusCode code;
    const char* message;
  } rows[] = {
      {404,
       R"({"message":"No such container: x"})",
       absl::StatusCode::kNotFound,
       "No such container: x"},
      {409,
       R"({"message":"Conflict. The name \"/a\" is already in use"})",
       absl::StatusCode::kAlreadyExists,
       "Conflict. The name \"/a\" is already in use"},
      {409,
       R"({"message":"Container x is not running"})",
       absl::StatusCode::kFailedPrecondition,
       "Container x is not running"},
      {500, "plain", absl::StatusCode::kInternal, "HTTP 500: plain"},
      {400, R"({"message":"bad\n"})", absl::StatusCode::kInvalidArgument, "bad"},
  };
  for (const auto& row : rows) {
    INFO(row.body);
    const absl::Status status = StatusFromResponse({row.status_code, row.body});
    CHECK(status.code() == row.code);
    CHECK(base::Message(status) == row.message);
  }
  CHECK(StatusFromResponse({304, ""}).ok());
}

TEST_CASE("the body of a create call") {
  ContainerConfig config{
      .image = "img:1",
      .entrypoint = {"/bin/x", "a b"},
      .labels = {{"k", "v"}},
      .mounts = {{"/host:odd", "/in", true}},
      .network_mode = "bridge",
      .published_ports = {{10022, 0}, {80, 8080}},
      .nano_cpus = 1'500'000'000,
      .memory_bytes = 1 << 20,
      .shm_bytes = 1 << 10,
  };
  const json body = json::parse(CreateBody(config));
  CHECK(body["Entrypoint"] == json({"/bin/x", "a b"}));
  CHECK(body["Cmd"] == json::array());
  CHECK(body["HostConfig"]["Init"] == false);
  CHECK(body["HostConfig"]["RestartPolicy"]["Name"] == "no");
  CHECK(body["HostConfig"]["Mounts"][0]["Source"] == "/host:odd");
  CHECK(body["HostConfig"]["Mounts"][0]["ReadOnly"] == true);
  CHECK(body["HostConfig"]["PortBindings"]["10022/tcp"][0]["HostIp"] == "127.0.0.1");
  CHECK(body["HostConfig"]["PortBindings"]["10022/tcp"][0]["HostPort"] == "");
  CHECK(body["HostConfig"]["PortBindings"]["80/tcp"][0]["HostPort"] == "8080");
  CHECK(body["ExposedPorts"].contains("10022/tcp"));
  CHECK(body["HostConfig"]["NanoCpus"] == 1'500'000'000);
  CHECK(body["HostConfig"]["Tmpfs"]["/dev/shm"] == "exec,size=1024");
  CHECK_FALSE(body["HostConfig"].contains("DeviceRequests"));
  CHECK_FALSE(body.contains("User"));

  for (const char* absent : {"CapAdd", "SecurityOpt", "Runtime", "IpcMode"}) {
    CHECK_FALSE(body["HostConfig"].contains(absent));
  }
  config.added_capabilities = {"SYS_PTRACE"};
  config.security_options = {"seccomp=unconfined"};
  config.runtime = "habana";
  config.ipc_mode = "host";
  config.anonymous_volumes = {"/var/lib/docker"};
  const json with_all = json::parse(CreateBody(config))["HostConfig"];
  CHECK(with_all["CapAdd"] == json({"SYS_PTRACE"}));
  CHECK(with_all["SecurityOpt"] == json({"seccomp=unconfined"}));
  CHECK(with_all["Runtime"] == "habana");
  CHECK(with_all["IpcMode"] == "host");
  CHECK(with_all["Mounts"][1] == json({{"Type", "volume"}, {"Target", "/var/lib/docker"}}));

  config.gpus = GpuRequest{{"GPU-1", "GPU-2"}, {"gpu", "utility"}};
  const json with_gpus = json::parse(CreateBody(config));
  CHECK(with_gpus["HostConfig"]["DeviceRequests"] ==
        json::parse(R"([{"DeviceIDs":["GPU-1","GPU-2"],"Capabilities":[["gpu","utility"]]}])"));
}

TEST_CASE("a container of an inspect call") {
  const auto info = ParseContainer(R"({
      "Id": "abc", "Name": "/run-0-0-12345678",
      "State": {"Status": "exited", "ExitCode": 137, "OOMKilled": true, "Error": "", "Pid": 0,
                "StartedAt": "2026-01-01T00:00:00Z"},
      "Config": {"Labels": {"a": "b"}},
      "NetworkSettings": {"Ports": {
        "10022/tcp": [{"HostIp": "::1", "HostPort": "7"}, {"HostIp": "127.0.0.1", "HostPort": "4001"}],
        "53/udp": [{"HostIp": "127.0.0.1", "HostPort": "4002"}],
        "80/tcp": null, "81/tcp": [{"HostIp": "127.0.0.1", "HostPort": "x"}]}}})");
  REQUIRE(info.ok());
  CHECK(info->name == "run-0-0-12345678");
  CHECK(info->state == "exited");
  CHECK(info->exit_code == 137);
  CHECK(info->is_oom_killed);
  CHECK(info->was_started);
  CHECK(info->labels.at("a") == "b");
  CHECK(info->ports == std::vector<PublishedPort>{{10022, 4001}});

  CHECK_FALSE(ParseContainer("[]").ok());
  CHECK_FALSE(ParseContainer(R"({"State":{"ExitCode":"x"}})").ok());
  const auto created =
      ParseContainer(R"({"State":{"Status":"created","StartedAt":"0001-01-01T00:00:00Z"}})");
  REQUIRE(created.ok());
  CHECK_FALSE(created->was_started);
}

TEST_CASE("the engine's log frames are taken apart") {
  const std::string framed(
      "\x01\0\0\0\0\0\0\x03one\x02\0\0\0\0\0\0\x04two\n\x01\0\0\0\0\0\0\x09"
      "cut",
      8 + 3 + 8 + 4 + 8 + 3);
  CHECK(DemultiplexLog(framed) == "onetwo\ncut");
  CHECK(DemultiplexLog("plain terminal output") == "plain terminal output");
  CHECK(DemultiplexLog("short").empty());
}

}  // namespace
}  // namespace dstack::docker
