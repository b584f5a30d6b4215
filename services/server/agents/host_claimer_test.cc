#include "services/server/agents/host_claimer.h"

#include <catch2/catch.hpp>

#include "fmt/format.h"
#include "libs/base/status.h"
#include "libs/testing/await.h"
#include "libs/testing/temp_dir.h"
#include "tests/contract/fakes/fake_host.h"
#include "tests/contract/fakes/memory_stores.h"

namespace dstack::server {
namespace {

using namespace std::chrono_literals;

class FixedInstaller final : public HostInstaller {
 public:
  explicit FixedInstaller(std::string socket) : socket_(std::move(socket)) {}
  absl::StatusOr<std::string> Install(HostTransport&,
                                      const InstallRequest&,
                                      std::stop_token) override {
    return socket_;
  }
  std::string Diagnose(HostTransport&) override { return ""; }
  absl::Status Uninstall(HostTransport&, const InstallRequest&, std::stop_token) override {
    return absl::OkStatus();
  }

 private:
  const std::string socket_;
};

class FakeNotifications final : public Notifications {
 public:
  std::unique_ptr<Subscription> Subscribe(
      const std::string&, std::function<void(const std::string&)> callback) override {
    callback_ = std::move(callback);
    return std::make_unique<Subscription>();
  }
  void Notify(const std::string& payload) { callback_(payload); }

 private:
  std::function<void(const std::string&)> callback_;
};

struct Fixture {
  testing::TempDir dir;
  fakes::FakeHost host{dir.path()};
  fakes::MemoryHosts hosts;
  fakes::MemoryLogs logs;
  fakes::MemoryFiles files;
  fakes::MemoryIdentities identities;
  FakeNotifications notifications;
  LogIngest ingest{logs, nullptr, {}};
  fakes::MemoryUsage usage_store;
  UsageRecorder usage{usage_store};
  DirectTransports transports;
  FixedInstaller installer{host.shim_socket()};
  base::RealClock clock;
  base::SeededRandom random{1};

  std::unique_ptr<HostClaimer> Make(std::chrono::milliseconds lease) {
    HostClaimer::Options options;
    options.agents.server_id = "server";
    options.agents.replica_id = "replica";
    options.token_key = base::Secret("key");
    options.heartbeat_interval = 20ms;
    options.lease = lease;
    options.driver_threads = 2;
    options.connect_threads = 2;
    return std::make_unique<HostClaimer>(HostClaimer::Dependencies{hosts.instances(),
                                                                   hosts.jobs(),
                                                                   logs,
                                                                   files,
                                                                   identities,
                                                                   notifications,
                                                                   ingest,
                                                                   usage,
                                                                   transports,
                                                                   installer,
                                                                   clock,
                                                                   random},
                                         options);
  }
  void AddHost(const std::string& id) {
    fakes::MemoryHosts::Host row;
    row.instance.id = InstanceId(id);
    row.instance.created_at = clock.Now();
    hosts.AddHost(row);
  }
};

TEST_CASE("hosts are claimed, driven and given back") {
  Fixture f;
  f.AddHost("host-1");
  auto claimer = f.Make(8s);
  REQUIRE(claimer->Start().ok());
  testing::Await(5s, [&] { return claimer->counts().ready == 1; });
  CHECK(f.hosts.GetInstance(InstanceId("host-1")).owner_replica_id == "replica");
  claimer->Stop();
  CHECK(f.hosts.GetInstance(InstanceId("host-1")).owner_replica_id.empty());
}

TEST_CASE("without a database the hosts are dropped when the lease is over, and taken again") {
  Fixture f;
  f.AddHost("host-1");
  auto claimer = f.Make(1s);
  REQUIRE(claimer->Start().ok());
  testing::Await(5s, [&] { return claimer->counts().ready == 1; });
  f.hosts.FailAll(base::Unavailable("away"));
  testing::Await(5s, [&] { return claimer->counts().ready == 0; });
  f.hosts.FailAll(absl::OkStatus());
  // As the database does it once the lease is over.
  f.hosts.ChangeInstance(InstanceId("host-1"), [](Instance& instance) {
    instance.owner_replica_id.clear();
    return true;
  });
  testing::Await(5s, [&] { return claimer->counts().ready == 1; });
}

TEST_CASE("a notification brings work at once") {
  Fixture f;
  f.AddHost("host-1");
  auto claimer = f.Make(8s);
  REQUIRE(claimer->Start().ok());
  testing::Await(5s, [&] { return claimer->counts().ready == 1; });
  JobAndRun row;
  row.job.id = JobId("job");
  row.job.status = api::v1::JOB_STATUS_PROVISIONING;
  row.job.instance_id = InstanceId("host-1");
  row.job.is_released = false;
  f.hosts.AddJob(row);
  f.notifications.Notify("host-1");
  testing::Await(5s, [&] { return f.hosts.GetJob(JobId("job")).is_released; });
}

}  // namespace
}  // namespace dstack::server
