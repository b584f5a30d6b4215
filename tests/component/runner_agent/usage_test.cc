// What a job uses, as its server sees it.
#include <chrono>
#include <string>

#include <arpa/inet.h>
#include <catch2/catch.hpp>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/testing/await.h"
#include "libs/testing/paths.h"
#include "tests/component/runner_agent/fixture.h"

namespace dstack::runner {
namespace {

using common::v1::LOG_SOURCE_JOB;
using namespace std::chrono_literals;

base::UniqueFd ConnectLoopback(std::uint32_t port) {
  base::UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  REQUIRE(connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
  return fd;
}

TEST_CASE("C1 connections to the job's sshd are reported, with their bytes") {
  if (geteuid() != 0) return testing::Skip("kernel: not root");
  Fixture f({"--ssh-dir", testing::BuildDir() + "/share/dstack/ssh-bundle"});
  f.Run(MakeShellJob("echo ready; cat"));
  const std::uint32_t port = f.client->AwaitSshPort().ssh_port();
  testing::Await(20s, [&] { return f.client->activity().has_value(); });
  CHECK(f.client->activity()->open_connections() == 0);
  // A connection that does no more than greet; it is young, so it does not count as work.
  const base::UniqueFd connection = ConnectLoopback(port);
  const std::string greeting = "SSH-2.0-test\r\n";
  REQUIRE(write(connection.get(), greeting.data(), greeting.size()) ==
          static_cast<ssize_t>(greeting.size()));
  testing::Await(30s, [&] { return f.client->activity()->received_bytes() >= greeting.size(); });
  CHECK(f.client->activity()->sent_bytes() > 0);
  CHECK(f.client->activity()->open_connections() == 0);
  f.client->StopJob(0);
  f.Finish();
}

TEST_CASE("metrics of the job's cgroup arrive while it runs, at most each second") {
  Fixture f;
  f.Run(MakeShellJob("while :; do :; done"));
  f.client->AwaitState(v1::JOB_STATE_RUNNING);
  const auto start = std::chrono::steady_clock::now();
  bool has_metrics = false;
  testing::Await(10s, [&] {
    has_metrics = f.client->metrics_count() >= 2;
    return has_metrics || std::chrono::steady_clock::now() - start > 5s;
  });
  if (!has_metrics) {
    f.client->StopJob(0);
    f.Finish();
    return testing::Skip("kernel: no cgroup that can be read");
  }
  const v1::JobMetrics first = *f.client->metrics();
  CHECK(first.memory_usage_bytes() >= first.memory_working_set_bytes());
  CHECK(first.memory_working_set_bytes() > 0);
  const std::uint64_t count = f.client->metrics_count();
  testing::Await(20s, [&] { return f.client->metrics_count() > count; });
  CHECK(f.client->metrics()->cpu_usage_micros() > first.cpu_usage_micros());
  const auto seconds =
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now() - start)
          .count();
  CHECK(f.client->metrics_count() <= static_cast<std::uint64_t>(seconds) + 2);
  f.client->StopJob(0);
  f.Finish();
}

}  // namespace
}  // namespace dstack::runner
