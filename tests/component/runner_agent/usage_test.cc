// What a job uses, as its server sees it.
#include <cerrno>
#include <chrono>
#include <fstream>
#include <string>
#include <vector>

#include <arpa/inet.h>
#include <catch2/catch.hpp>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/testing/await.h"
#include "libs/testing/paths.h"
#include "tests/component/runner_agent/fixture.h"
#include "tests/component/runner_agent/ssh_login.h"

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
  Fixture f({"--ssh-dir", SshBundle()});
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

// A cgroup for one runner, of either version.
class OwnCgroup {
 public:
  OwnCgroup() {
    const std::string name = "dstack-test-" + std::to_string(getpid());
    if (base::Exists("/sys/fs/cgroup/memory/release_agent")) {
      for (const char* controller : {"memory", "cpuacct", "blkio"}) {
        dirs_.push_back(std::string("/sys/fs/cgroup/") + controller + "/" + name);
      }
    } else {
      dirs_.push_back("/sys/fs/cgroup/" + name);
    }
    for (const std::string& dir : dirs_) mkdir(dir.c_str(), 0755);
  }
  ~OwnCgroup() {
    // The kernel lets go of the last process some time after it was reaped.
    for (const std::string& dir : dirs_) {
      testing::Await(10s, [&] { return rmdir(dir.c_str()) == 0 || errno != EBUSY; });
    }
  }
  bool HasMemory() const {
    return base::Exists(dirs_[0] + "/memory.current") ||
           base::Exists(dirs_[0] + "/memory.usage_in_bytes");
  }
  void Enter(const RunnerProcess& runner) {
    for (const std::string& dir : dirs_) {
      for (const pid_t pid : {runner.supervisor_pid(), runner.ServePid()}) {
        std::ofstream(dir + "/cgroup.procs") << pid << std::endl;
      }
    }
  }
  void LimitMemory(const std::string& bytes) {
    const bool is_v2 = base::Exists(dirs_[0] + "/memory.max");
    std::ofstream(dirs_[0] + (is_v2 ? "/memory.max" : "/memory.limit_in_bytes"))
        << bytes << std::endl;
    std::ofstream(dirs_[0] + (is_v2 ? "/memory.swap.max" : "/memory.memsw.limit_in_bytes"))
        << (is_v2 ? "0" : bytes) << std::endl;
  }

 private:
  std::vector<std::string> dirs_;
};

TEST_CASE("W14 metrics of the job's cgroup arrive while it runs, at most each second") {
  OwnCgroup cgroup;
  if (!cgroup.HasMemory()) return testing::Skip("kernel: no cgroup of our own");
  Fixture f;
  f.runner.Start();
  cgroup.Enter(f.runner);
  f.client.emplace(f.runner.Target(), f.runner.token(), f.store);
  f.client->Submit(MakeShellJob("head -c 3000000 /dev/zero >" + f.runner.Path("written") +
                                "; sync; i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; cat"));
  f.client->StartJob();
  const auto start = std::chrono::steady_clock::now();
  testing::Await(20s, [&] { return f.client->metrics_count() >= 2; });
  const v1::JobMetrics first = *f.client->metrics();
  CHECK(first.memory_usage_bytes() >= first.memory_working_set_bytes());
  CHECK(first.memory_working_set_bytes() > 0);
  CHECK(first.memory_working_set_bytes() < 500'000'000);
  CHECK(first.has_disk_written_bytes());
  // Of this process tree, not of the machine.
  testing::Await(20s, [&] { return f.client->metrics()->cpu_usage_micros() > 100'000; });
  CHECK(f.client->metrics()->cpu_usage_micros() < 60'000'000);
  const auto seconds =
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now() - start)
          .count();
  CHECK(f.client->metrics_count() <= static_cast<std::uint64_t>(seconds) + 2);
  f.client->StopJob(0);
  f.Finish();
  f.Leave();
}

TEST_CASE("a command that the kernel kills for want of memory ends with that message") {
  OwnCgroup cgroup;
  if (!cgroup.HasMemory()) return testing::Skip("kernel: no cgroup of our own");
  Fixture f;
  f.runner.Start();
  cgroup.Enter(f.runner);
  cgroup.LimitMemory("104857600");
  f.client.emplace(f.runner.Target(), f.runner.token(), f.store);
  // Keeps what has no line end.
  f.client->Submit(MakeShellJob("head -c 400000000 /dev/zero | tail"));
  f.client->StartJob();
  const v1::JobStatus status = f.Finish();
  CHECK(status.exit_status() == 137);
  CHECK(status.message() == "killed by the kernel: out of memory (the limit is 100 MiB)");
  CHECK(f.store.text[common::v1::LOG_SOURCE_RUNNER].find(status.message()) != std::string::npos);
  f.Leave();
}

}  // namespace
}  // namespace dstack::runner
