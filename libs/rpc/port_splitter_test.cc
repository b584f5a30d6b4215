#include "libs/rpc/port_splitter.h"

#include <atomic>
#include <string>
#include <vector>

#include <arpa/inet.h>
#include <catch2/catch.hpp>
#include <netinet/in.h>
#include <sys/socket.h>

#include "libs/testing/await.h"

namespace dstack::rpc {
namespace {

using namespace std::chrono_literals;

base::UniqueFd Connect(std::uint16_t port) {
  base::UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  REQUIRE(connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  return fd;
}

void Send(const base::UniqueFd& fd, const std::string& text) {
  REQUIRE(send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL) ==
          static_cast<ssize_t>(text.size()));
}

TEST_CASE("the first bytes tell the protocol") {
  struct Row {
    std::string bytes;
    WireProtocol protocol;
  };
  const std::vector<Row> rows = {
      {"", WireProtocol::kUnknown},
      {"P", WireProtocol::kUnknown},
      {"PR", WireProtocol::kUnknown},
      {"PRI", WireProtocol::kUnknown},
      {"PRI ", WireProtocol::kHttp2},
      {"PRI * HTTP/2.0\r\n\r\nSM", WireProtocol::kHttp2},
      {"PROPFIND", WireProtocol::kHttp1},
      {"POST / HTTP/1.1", WireProtocol::kHttp1},
      {"GET /", WireProtocol::kHttp1},
      {"\x16\x03\x01", WireProtocol::kTls},
      {std::string("\0\0", 2), WireProtocol::kHttp1},
  };
  for (const Row& row : rows) {
    INFO(row.bytes);
    CHECK(Sniff(row.bytes) == row.protocol);
  }
}

TEST_CASE("a taken port and a foreign address are told apart") {
  auto first = Listen("127.0.0.1", 0);
  REQUIRE(first.ok());
  CHECK(first->is_loopback);
  CHECK(first->address == "127.0.0.1:" + std::to_string(first->port));
  CHECK(Listen("127.0.0.1", first->port).status().code() == absl::StatusCode::kAlreadyExists);
  CHECK(Listen("203.0.113.7", 0).status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(Listen("no host", 0).status().code() == absl::StatusCode::kInvalidArgument);
  auto any = Listen("0.0.0.0", 0);
  REQUIRE(any.ok());
  CHECK_FALSE(any->is_loopback);
}

TEST_CASE("silent clients hold up nobody, and a preface may come in pieces") {
  auto socket = Listen("127.0.0.1", 0);
  REQUIRE(socket.ok());
  std::atomic<int> http1{0};
  std::atomic<int> http2{0};
  PortSplitter splitter(std::move(socket->fd), [&](WireProtocol protocol, base::UniqueFd) {
    ++(protocol == WireProtocol::kHttp2 ? http2 : http1);
  });
  std::vector<base::UniqueFd> silent;
  for (int i = 0; i < 50; ++i) silent.push_back(Connect(socket->port));
  const base::UniqueFd halting = Connect(socket->port);
  Send(halting, "PR");
  const base::UniqueFd quick = Connect(socket->port);
  Send(quick, "GET / HTTP/1.1\r\n\r\n");
  testing::AwaitEqual(
      5s, [&] { return http1.load(); }, 1);
  CHECK(http2 == 0);
  Send(halting, "I * HTTP/2.0\r\n");
  testing::AwaitEqual(
      5s, [&] { return http2.load(); }, 1);
}

}  // namespace
}  // namespace dstack::rpc
