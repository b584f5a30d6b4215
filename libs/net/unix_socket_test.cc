#include "libs/net/unix_socket.h"

#include <catch2/catch.hpp>
#include <sys/stat.h>
#include <unistd.h>

#include "libs/base/status.h"
#include "libs/net/free_port.h"
#include "libs/testing/temp_dir.h"

namespace dstack::net {
namespace {

TEST_CASE("a connection carries bytes and tells who is there") {
  testing::TempDir dir;
  const std::string path = dir.Path("s");
  auto listener = ListenUnix(path, 0660);
  REQUIRE(listener.ok());
  struct stat info {};
  REQUIRE(stat(path.c_str(), &info) == 0);
  CHECK((info.st_mode & 0777) == 0660);
  auto client = ConnectUnix(path);
  REQUIRE(client.ok());
  auto server = Accept(listener->get());
  REQUIRE(server.ok());
  CHECK(GetPeerCredentials(server->get())->pid == getpid());
  CHECK(GetPeerCredentials(server->get())->uid == geteuid());
  REQUIRE(base::WriteAll(client->get(), "hi").ok());
  char buffer[8];
  CHECK(*base::ReadSome(server->get(), buffer, sizeof(buffer)) == 2);
}

TEST_CASE("a stale socket is replaced, a live one and a file are not") {
  testing::TempDir dir;
  const std::string path = dir.Path("s");
  REQUIRE(ListenUnix(path).ok());  // closed at once, its file stays
  CHECK(absl::IsUnavailable(ConnectUnix(path).status()));
  auto live = ListenUnix(path);
  REQUIRE(live.ok());
  CHECK(absl::IsAlreadyExists(ListenUnix(path).status()));
  REQUIRE(base::WriteFileAtomic(dir.Path("f"), "precious").ok());
  CHECK(absl::IsAlreadyExists(ListenUnix(dir.Path("f")).status()));
  CHECK(*base::ReadFile(dir.Path("f")) == "precious");
}

TEST_CASE("bad paths are refused") {
  CHECK(absl::IsInvalidArgument(ListenUnix("").status()));
  CHECK(absl::IsInvalidArgument(ConnectUnix("/tmp/" + std::string(108, 'x')).status()));
  CHECK(absl::IsNotFound(ConnectUnix("/tmp/no/such/socket").status()));
}

TEST_CASE("a free port is free") {
  const auto port = FreePort();
  REQUIRE(port.ok());
  CHECK(*port > 0);
  CHECK_FALSE(IsListening(*port));
}

}  // namespace
}  // namespace dstack::net
