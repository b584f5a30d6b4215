#include "libs/rpc/server.h"

#include <string>

#include <arpa/inet.h>
#include <catch2/catch.hpp>
#include <grpcpp/grpcpp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "dstack/api/v1/server_service.grpc.pb.h"
#include "grpc/health/v1/health.grpc.pb.h"

#include "libs/rpc/port_splitter.h"
#include "libs/testing/temp_dir.h"

namespace dstack::rpc {
namespace {

class InfoService final : public api::v1::ServerService::Service {
 public:
  grpc::Status GetServerInfo(grpc::ServerContext*,
                             const api::v1::GetServerInfoRequest*,
                             api::v1::GetServerInfoResponse* response) override {
    response->set_version("7");
    return grpc::Status::OK;
  }
};

std::unique_ptr<Server> StartServer(InfoService& service) {
  ServerOptions options;
  options.services = {&service};
  options.service_names = {"dstack.api.v1.ServerService"};
  options.http = [](const HttpRequest& request) {
    if (request.path == "/healthz") return HttpResponse{200, "text/plain", "ok " + request.query};
    return HttpResponse{404, "text/plain", "no such page\n"};
  };
  auto server = Server::Start(options);
  REQUIRE(server.ok());
  return *std::move(server);
}

// Answer of the server to raw bytes, until it closes the connection.
std::string Http(std::uint16_t port, const std::string& request) {
  base::UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  REQUIRE(connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  REQUIRE(send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL) > 0);
  std::string answer;
  char buffer[4096];
  while (true) {
    const ssize_t count = recv(fd.get(), buffer, sizeof buffer, 0);
    if (count <= 0) return answer;
    answer.append(buffer, static_cast<std::size_t>(count));
  }
}

std::shared_ptr<grpc::Channel> ChannelTo(const Server& server) {
  return grpc::CreateChannel(server.address(), grpc::InsecureChannelCredentials());
}

grpc::health::v1::HealthCheckResponse::ServingStatus Health(const Server& server,
                                                            const std::string& name) {
  auto stub = grpc::health::v1::Health::NewStub(ChannelTo(server));
  grpc::ClientContext context;
  grpc::health::v1::HealthCheckRequest request;
  request.set_service(name);
  grpc::health::v1::HealthCheckResponse response;
  REQUIRE(stub->Check(&context, request, &response).ok());
  return response.status();
}

TEST_CASE("one port answers gRPC and HTTP") {
  InfoService service;
  auto server = StartServer(service);
  auto stub = api::v1::ServerService::NewStub(ChannelTo(*server));
  grpc::ClientContext context;
  api::v1::GetServerInfoResponse response;
  REQUIRE(stub->GetServerInfo(&context, {}, &response).ok());
  CHECK(response.version() == "7");

  const std::string ok =
      Http(server->port(), "GET /healthz?a=b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  CHECK_THAT(ok, Catch::StartsWith("HTTP/1.1 200 OK") && Catch::EndsWith("ok a=b"));
  const std::string head =
      Http(server->port(), "HEAD /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  CHECK_THAT(head, Catch::StartsWith("HTTP/1.1 200 OK") && Catch::EndsWith("\r\n\r\n"));
  CHECK_THAT(Http(server->port(), "GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
             Catch::StartsWith("HTTP/1.1 404"));
  CHECK_THAT(Http(server->port(), "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"),
             Catch::StartsWith("HTTP/1.1 405"));
  CHECK_THAT(Http(server->port(), "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n"),
             Catch::StartsWith("HTTP/1.1 413"));
  CHECK(Http(server->port(), "\x01\x02\x03\x04\r\n\r\n").find("200 OK") == std::string::npos);
}

TEST_CASE("health follows the server, by name and for all") {
  using grpc::health::v1::HealthCheckResponse;
  InfoService service;
  auto server = StartServer(service);
  CHECK(Health(*server, "") == HealthCheckResponse::NOT_SERVING);
  server->SetServing(true);
  CHECK(Health(*server, "") == HealthCheckResponse::SERVING);
  CHECK(Health(*server, "dstack.api.v1.ServerService") == HealthCheckResponse::SERVING);
  server->SetServing(false);
  CHECK(Health(*server, "dstack.api.v1.ServerService") == HealthCheckResponse::NOT_SERVING);
}

TEST_CASE("a server that cannot start says why") {
  InfoService service;
  auto first = StartServer(service);
  ServerOptions options;
  options.port = first->port();
  absl::Status status = Server::Start(options).status();
  CHECK_THAT(std::string(status.message()),
             Catch::Contains(std::to_string(first->port())) && Catch::Contains("--port"));

  options.port = 0;
  options.host = "0.0.0.0";
  status = Server::Start(options).status();
  CHECK_THAT(std::string(status.message()), Catch::Contains("--insecure"));
  options.is_plaintext_allowed = true;
  CHECK(Server::Start(options).ok());

  testing::TempDir dir;
  options.tls_certificate_file = dir.Path("cert.pem");
  CHECK_FALSE(Server::Start(options).ok());
  options.tls_key_file = dir.Path("key.pem");
  status = Server::Start(options).status();
  CHECK_THAT(std::string(status.message()), Catch::Contains("--tls-cert"));
}

TEST_CASE("shutdown refuses new connections and comes back in time") {
  InfoService service;
  auto server = StartServer(service);
  const std::uint16_t port = server->port();
  auto channel = ChannelTo(*server);
  auto stub = api::v1::ServerService::NewStub(channel);
  {
    grpc::ClientContext context;
    api::v1::GetServerInfoResponse response;
    REQUIRE(stub->GetServerInfo(&context, {}, &response).ok());
  }
  server->Shutdown(std::chrono::milliseconds(200));
  grpc::ClientContext context;
  api::v1::GetServerInfoResponse response;
  CHECK(stub->GetServerInfo(&context, {}, &response).error_code() == grpc::StatusCode::UNAVAILABLE);
  CHECK(Listen("127.0.0.1", port).ok());
}

}  // namespace
}  // namespace dstack::rpc
