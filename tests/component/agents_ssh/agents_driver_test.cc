// A whole host behind a real sshd: driver, installer and a shim that the installer has started.

#include <thread>

#include <catch2/catch.hpp>
#include <signal.h>

#include "fmt/format.h"
#include "libs/base/file.h"
#include "libs/exec/thread_pool.h"
#include "libs/ssh/keys.h"
#include "libs/testing/await.h"
#include "libs/testing/mini_sshd.h"
#include "libs/testing/paths.h"
#include "libs/testing/temp_dir.h"
#include "services/server/agents/host_driver.h"
#include "services/server/agents/ssh_transport.h"
#include "tests/contract/fakes/memory_stores.h"

namespace dstack::server {
namespace {

using namespace api::v1;  // NOLINT: the words of the contract
using namespace std::chrono_literals;

const InstanceId kHost("host-1");

struct Fixture {
  testing::MiniSshd sshd;
  testing::TempDir dir;
  fakes::MemoryHosts hosts;
  fakes::MemoryLogs logs;
  fakes::MemoryFiles files;
  fakes::MemoryIdentities identities;
  std::unique_ptr<SshTransports> transports = *SshTransports::Create(dir.path());
  AgentBundle bundle{{testing::BuildDir() + "/test-bin/agents_fake_shim", "/bin/true", ""}};
  AgentInstaller installer{bundle, {"0123456789abcdef", ""}};
  base::RealClock clock;
  base::SeededRandom random{1};
  exec::TimerQueue timers;
  exec::ThreadPool connect_pool{"connect", 2};
  exec::ThreadPool pool{"pool", 2};
  LogIngest ingest{logs, nullptr, {}};
  AgentServices services{hosts.instances(),
                         hosts.jobs(),
                         logs,
                         files,
                         identities,
                         ingest,
                         *transports,
                         installer,
                         clock,
                         random,
                         pool,
                         connect_pool,
                         timers,
                         base::Secret("key"),
                         {}};
  std::unique_ptr<HostDriver> driver;

  Fixture() {
    services.options.unreachable_after = 100ms;
    fakes::MemoryHosts::Host row;
    row.instance.id = kHost;
    row.instance.hostname = "127.0.0.1";
    row.instance.created_at = clock.Now();
    row.connection.host.hostname = "127.0.0.1";
    row.connection.host.port = sshd.port();
    row.connection.host.user = sshd.user();
    row.connection.host.private_keys = {sshd.private_key()};
    hosts.AddHost(row);
    auto claimed = hosts.instances().Claim("replica", 1);
    driver = std::make_unique<HostDriver>(services, claimed->front());
  }
  // Takes the shim away too, whatever the test did to the connection.
  ~Fixture() {
    sshd.Resume();
    hosts.ChangeInstance(kHost, [](Instance& instance) {
      if (!IsFinal(instance.status)) instance.status = INSTANCE_STATUS_TERMINATING;
      return true;
    });
    driver->Wake();
    const auto deadline = base::DeadlineIn(10s);
    while (!driver->IsDone() && base::DeadlineIn(0s) < deadline) std::this_thread::yield();
  }

  void AwaitReady() {
    testing::Await(
        20s,
        [&] { return driver->IsReadyNow(); },
        [&] { return hosts.GetInstance(kHost).status_message; });
  }
  Job RunJob(const std::string& id) {
    JobAndRun row;
    row.job.id = JobId(id);
    row.job.status = JOB_STATUS_PROVISIONING;
    row.job.instance_id = kHost;
    row.job.is_released = false;
    row.run.spec.mutable_configuration()->mutable_task()->add_commands("true");
    hosts.AddJob(row);
    driver->Wake();
    testing::Await(10s, [&] { return hosts.GetJob(JobId(id)).is_released; });
    return hosts.GetJob(JobId(id));
  }
};

TEST_CASE("over ssh: a new host is set up, its key recorded, and jobs run on it") {
  Fixture f;
  f.AwaitReady();
  const Instance instance = f.hosts.GetInstance(kHost);
  CHECK(instance.status == INSTANCE_STATUS_IDLE);
  CHECK(instance.host_key == f.sshd.host_key());
  CHECK(instance.host_key_fingerprint == *ssh::Fingerprint(f.sshd.host_key()));
  CHECK(f.RunJob("job-a").status == JOB_STATUS_DONE);
  CHECK(f.logs.TextOf(JobId("job-a")) == "from the host\n");
}

TEST_CASE("over ssh: broken connections and restarts of sshd are mended") {
  Fixture f;
  f.AwaitReady();
  f.sshd.CutConnections();
  CHECK(f.RunJob("job-a").status == JOB_STATUS_DONE);
  f.sshd.Kill();
  testing::Await(5s, [&] { return f.hosts.GetInstance(kHost).is_unreachable; });
  f.sshd.Start();
  f.AwaitReady();
  testing::Await(5s, [&] { return !f.hosts.GetInstance(kHost).is_unreachable; });
  CHECK(f.RunJob("job-b").status == JOB_STATUS_DONE);
}

TEST_CASE("over ssh: a host with another key is not trusted") {
  Fixture f;
  f.AwaitReady();
  f.sshd.ReplaceHostKey();
  testing::Await(
      10s,
      [&] {
        return f.hosts.GetInstance(kHost).status_message.find("host key is") != std::string::npos;
      },
      [&] { return f.hosts.GetInstance(kHost).status_message; });
  const Instance instance = f.hosts.GetInstance(kHost);
  CHECK(instance.is_unreachable);
  CHECK_THAT(instance.status_message, Catch::Contains(instance.host_key_fingerprint));
  // The driver cannot do it any more.
  const auto pid = base::ReadFile(f.sshd.home() + "/.dstack/hosts/0123456789abcdef/shim.pid");
  REQUIRE(pid.ok());
  kill(std::stoi(*pid), SIGTERM);
}

}  // namespace
}  // namespace dstack::server
