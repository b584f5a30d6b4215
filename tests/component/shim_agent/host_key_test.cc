// What a key on the host opens, asked of a real sshd.
#include <chrono>
#include <string>
#include <thread>

#include <arpa/inet.h>
#include <catch2/catch.hpp>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "libs/base/file.h"
#include "libs/process/subprocess.h"
#include "libs/ssh/private_sshd.h"
#include "libs/testing/temp_dir.h"
#include "services/shim/domain/authorized_keys.h"

namespace dstack::shim {
namespace {

using namespace std::chrono_literals;

// Greets everybody who connects.
class Greeter {
 public:
  Greeter() : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{.sin_family = AF_INET};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    auto* pointer = reinterpret_cast<sockaddr*>(&address);
    REQUIRE(::bind(listener_.get(), pointer, size) == 0);
    REQUIRE(::getsockname(listener_.get(), pointer, &size) == 0);
    REQUIRE(::listen(listener_.get(), 8) == 0);
    port = ntohs(address.sin_port);
    thread_ = std::thread([this] {
      while (true) {
        const base::UniqueFd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        if (!fd) return;
        static_cast<void>(base::WriteAll(fd.get(), "greetings\n").ok());
      }
    });
  }
  ~Greeter() {
    ::shutdown(listener_.get(), SHUT_RDWR);
    thread_.join();
  }

  std::uint16_t port = 0;

 private:
  base::UniqueFd listener_;
  std::thread thread_;
};

TEST_CASE("a key on the host opens the ports of its task and nothing else") {
  testing::TempDir dir;
  const std::string key = dir.Path("id");
  REQUIRE(
      process::RunChecked({"ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key}, 20s).ok());
  Greeter own;
  Greeter other;
  std::string line = *base::ReadFile(key + ".pub");
  line.pop_back();
  ssh::PrivateSshd sshd(dir.Path("sshd"));
  const absl::Status running =
      sshd.EnsureRunning({JumpLine({.line = line, .ports = {own.port}}, "shim")});
  INFO(running);
  REQUIRE(running.ok());
  const auto ssh = [&](std::vector<std::string> options, const std::string& command) {
    std::vector<std::string> argv = {
        "ssh", "-F", "none", "-i", key, "-p", std::to_string(sshd.port())};
    for (const char* option : {"BatchMode=yes",
                               "IdentitiesOnly=yes",
                               "StrictHostKeyChecking=no",
                               "UserKnownHostsFile=/dev/null",
                               "ExitOnForwardFailure=yes",
                               "LogLevel=ERROR"}) {
      argv.insert(argv.end(), {"-o", option});
    }
    argv.insert(argv.end(), options.begin(), options.end());
    argv.push_back(fmt::format("{}@127.0.0.1", sshd.user()));
    if (!command.empty()) argv.push_back(command);
    const auto result = process::Run(argv, 20s);
    INFO(result.status());
    REQUIRE(result.ok());
    return *result;
  };
  const auto through = [&](std::uint16_t port) {
    return ssh({"-W", fmt::format("127.0.0.1:{}", port)}, "").stdout_text;
  };
  CHECK(through(own.port) == "greetings\n");
  CHECK(through(other.port).empty());
  const auto shell = ssh({}, "echo a shell");
  CHECK(shell.stdout_text.empty());
  CHECK_FALSE(shell.exit.ok());
  CHECK_FALSE(ssh({"-R", "0:127.0.0.1:1"}, "").exit.ok());
  CHECK(sshd.Stop().ok());
}

}  // namespace
}  // namespace dstack::shim
