// A whole host behind a real sshd: driver, installer and a shim that the installer has started.

#include <thread>

#include <catch2/catch.hpp>
#include <signal.h>

#include "fmt/format.h"
#include "libs/base/file.h"
#include "libs/base/uuid.h"
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
  AgentBundle bundle;
  AgentInstaller installer{bundle, {"0123456789abcdef", ""}};
  base::RealClock clock;
  base::SeededRandom random{1};
  exec::TimerQueue timers;
  exec::ThreadPool connect_pool{"connect", 2};
  exec::ThreadPool pool{"pool", 2};
  LogIngest ingest{logs, nullptr, {}};
  fakes::MemoryUsage usage_store;
  UsageRecorder usage{usage_store};
  AgentServices services{hosts.instances(),
                         hosts.jobs(),
                         logs,
                         files,
                         identities,
                         ingest,
                         usage,
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

  static AgentBundle::Paths FakeAgents() {
    return {testing::BuildDir() + "/test-bin/agents_fake_shim", "/bin/true", ""};
  }

  explicit Fixture(const AgentBundle::Paths& agents = FakeAgents()) : bundle(agents) {
    // Without an engine the real shim runs jobs as processes.
    services.options.local_host = {sshd.port(), {{"DOCKER_HOST", "unix:///nonexistent"}}};
    services.options.unreachable_after = 100ms;
    services.options.abandon_after = 2s;
    services.options.server_id = "0123456789abcdef";
    services.options.replica_id = "replica";
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
  Job RunJob(const std::string& id, const std::string& command = "true") {
    const JobId job(id);
    StartJob(id, command);
    testing::Await(
        20s,
        [&] { return hosts.GetJob(job).is_released; },
        [&] { return Name(hosts.GetJob(job).status) + " " + logs.TextOf(job); });
    return hosts.GetJob(job);
  }
  void StartJob(const std::string& id, const std::string& command) {
    JobAndRun row;
    row.job.id = JobId(id);
    row.job.status = JOB_STATUS_PROVISIONING;
    row.job.instance_id = kHost;
    row.job.is_released = false;
    row.job.name = "job-0-0";
    row.job.offer.emplace();
    row.job.offer->set_blocks(1);
    row.job.offer->set_total_blocks(1);
    row.run.spec.mutable_configuration()->mutable_task()->add_commands(command);
    hosts.AddJob(row);
    driver->Wake();
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

TEST_CASE("T8 over ssh: broken connections and restarts of sshd are mended") {
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
  testing::Await(5s, [&] { return f.hosts.GetInstance(kHost).is_unreachable; });
  const Instance instance = f.hosts.GetInstance(kHost);
  CHECK_THAT(instance.status_message, Catch::Contains(instance.host_key_fingerprint));
  // The driver cannot do it any more.
  const auto pid = base::ReadFile(f.sshd.home() + "/.dstack/hosts/0123456789abcdef/shim.pid");
  REQUIRE(pid.ok());
  kill(std::stoi(*pid), SIGTERM);
}

TEST_CASE("over ssh: the real shim and runner") {
  Fixture f({testing::Binary("dstack-shim"), testing::Binary("dstack-runner"), ""});
  f.AwaitReady();
  CHECK(f.hosts.GetInstance(kHost).container_runtime == "process");
  const std::string first = base::NewUuid();
  const Job ended = f.RunJob(first, "echo to out; echo to err >&2; sh -c 'exit 7'");
  INFO(Name(ended.termination_reason) << ": " << ended.termination_message);
  CHECK(ended.exit_status == 7);
  CHECK(f.logs.TextOf(JobId(first)) == "to out\nto err\n");

  // A stop reaches the command.
  const std::string second = base::NewUuid();
  f.StartJob(second, "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done");
  testing::Await(10s, [&] { return f.logs.TextOf(JobId(second)) == "up\n"; });
  f.hosts.RequestStop(JobId(second), JOB_TERMINATION_REASON_TERMINATED_BY_USER, 10s);
  f.driver->Wake();
  testing::Await(10s, [&] { return f.hosts.GetJob(JobId(second)).is_released; });
  CHECK(f.hosts.GetJob(JobId(second)).status == JOB_STATUS_TERMINATED);
  // bash -i adds a word about its child that was ended too.
  CHECK_THAT(f.logs.TextOf(JobId(second)), Catch::EndsWith("bye\n"));

  // Output while the connection is away arrives whole.
  const std::string third = base::NewUuid();
  f.StartJob(third, "for i in 1 2 3 4 5 6 7 8 9; do echo $i; sleep 0.2; done");
  testing::Await(10s, [&] { return !f.logs.TextOf(JobId(third)).empty(); });
  f.sshd.Kill();
  f.sshd.Start();
  testing::Await(20s, [&] { return f.hosts.GetJob(JobId(third)).is_released; });
  CHECK(f.hosts.GetJob(JobId(third)).status == JOB_STATUS_DONE);
  CHECK(f.logs.TextOf(JobId(third)) == "1\n2\n3\n4\n5\n6\n7\n8\n9\n");
}

}  // namespace
}  // namespace dstack::server
