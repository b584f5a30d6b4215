#include "services/server/agents/host_driver.h"

#include <limits>

#include <catch2/catch.hpp>

#include "fmt/format.h"
#include "libs/base/status.h"
#include "libs/exec/thread_pool.h"
#include "libs/testing/await.h"
#include "libs/testing/temp_dir.h"
#include "tests/contract/fakes/fake_host.h"
#include "tests/contract/fakes/memory_stores.h"

namespace dstack::server {
namespace {

using namespace api::v1;  // NOLINT: the words of the contract
using namespace std::chrono_literals;

class FakeInstaller final : public HostInstaller {
 public:
  explicit FakeInstaller(std::string socket) : socket_(std::move(socket)) {}
  absl::StatusOr<std::string> Install(HostTransport&,
                                      const InstallRequest&,
                                      std::stop_token) override {
    base::MutexLock lock(mutex_);
    ++installs;
    if (!failure.ok()) return failure;
    return socket_;
  }
  std::string Diagnose(HostTransport&) override { return "log says no"; }
  absl::Status Uninstall(HostTransport&, const InstallRequest&, std::stop_token) override {
    base::MutexLock lock(mutex_);
    ++uninstalls;
    return absl::OkStatus();
  }
  void FailWith(absl::Status status) {
    base::MutexLock lock(mutex_);
    failure = std::move(status);
  }

  base::Mutex mutex_;
  int installs GUARDED_BY(mutex_) = 0;
  int uninstalls GUARDED_BY(mutex_) = 0;
  absl::Status failure GUARDED_BY(mutex_);

 private:
  const std::string socket_;
};

const InstanceId kHost("host-1");

struct Fixture {
  testing::TempDir dir;
  fakes::FakeHost host{dir.path()};
  fakes::MemoryHosts hosts;
  fakes::MemoryLogs logs;
  fakes::MemoryFiles files;
  fakes::MemoryIdentities identities;
  DirectTransports transports;
  FakeInstaller installer{host.shim_socket()};
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
                         transports,
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
    services.options.unreachable_after = 50ms;
    services.options.stop_slack = 300ms;
    services.options.leave_timeout = 300ms;
    services.options.log_delivery_timeout = 300ms;
    services.options.abandon_after = 300ms;
    services.options.unstarted_log_timeout = 100ms;
    fakes::MemoryHosts::Host row;
    row.instance.id = kHost;
    row.instance.hostname = "127.0.0.1";
    row.instance.created_at = clock.Now();
    hosts.AddHost(row);
  }

  void Drive() {
    driver.reset();
    hosts.instances().Retire("replica").IgnoreError();
    auto claimed = hosts.instances().Claim("replica", 1);
    REQUIRE(claimed->size() == 1);
    driver = std::make_unique<HostDriver>(services, claimed->front());
  }
  void DriveUntilReady() {
    Drive();
    testing::Await(5s, [&] { return driver->IsReadyNow(); });
  }

  static JobAndRun Row(const std::string& id) {
    JobAndRun row;
    row.job.id = JobId(id);
    row.job.status = JOB_STATUS_PROVISIONING;
    row.job.instance_id = kHost;
    row.job.instance_name = "fleet-0";
    row.job.is_released = false;
    row.run.id = RunId("run-" + id);
    row.run.name = "run";
    row.run.spec.mutable_configuration()->mutable_task()->add_commands("true");
    return row;
  }
  void Assign(const std::string& id) {
    hosts.AddJob(Row(id));
    driver->Wake();
  }
  void Stop(const std::string& id, std::chrono::milliseconds grace) {
    hosts.RequestStop(JobId(id), JOB_TERMINATION_REASON_TERMINATED_BY_USER, grace);
    driver->Wake();
  }
  Job GetJob(const std::string& id) { return hosts.GetJob(JobId(id)); }
  Job AwaitReleased(const std::string& id) {
    testing::Await(
        8s,
        [&] { return GetJob(id).is_released; },
        [&] { return Name(GetJob(id).status) + " " + GetJob(id).termination_message; });
    return GetJob(id);
  }
  void AwaitStatus(const std::string& id, JobStatus status) {
    testing::AwaitEqual(
        8s, [&] { return Name(GetJob(id).status); }, Name(status));
  }
  std::string Text(const std::string& id) { return logs.TextOf(JobId(id)); }
};

fakes::FakeHost::Script RunsOn() {
  fakes::FakeHost::Script script;
  script.runs_on = true;
  return script;
}

TEST_CASE("a new host becomes idle with its facts") {
  Fixture f;
  f.DriveUntilReady();
  const Instance instance = f.hosts.GetInstance(kHost);
  CHECK(instance.status == INSTANCE_STATUS_IDLE);
  CHECK(instance.resources->cpus() == 4);
  CHECK(instance.container_runtime == "docker");
  CHECK(instance.shim_version == "fake");
  CHECK(instance.status_message.empty());
}

shim::v1::HostFacts FactsWithGpus(int count) {
  shim::v1::HostFacts facts;
  facts.mutable_resources()->set_cpus(4);
  facts.set_shim_version("fake");
  for (int i = 0; i < count; ++i) {
    auto* gpu = facts.mutable_resources()->add_gpus();
    gpu->set_name("H100");
    gpu->set_resource_id(fmt::format("GPU-{}", i));
    gpu->set_health(common::v1::HEALTH_STATUS_HEALTHY);
  }
  return facts;
}

TEST_CASE("a device's failure is stored the moment the host tells it") {
  Fixture f;
  f.host.SetFacts(FactsWithGpus(2));
  f.DriveUntilReady();
  const auto health = [&] { return HealthOf(f.hosts.GetInstance(kHost)); };
  CHECK(health().status == common::v1::HEALTH_STATUS_HEALTHY);
  shim::v1::HostFacts facts = FactsWithGpus(2);
  facts.mutable_resources()->mutable_gpus(1)->set_health(common::v1::HEALTH_STATUS_FAILURE);
  facts.mutable_resources()->mutable_gpus(1)->set_health_message("XID 79: off the bus");
  f.host.SetFacts(facts);
  testing::Await(5s, [&] { return health().status == common::v1::HEALTH_STATUS_FAILURE; });
  CHECK(health().message == "H100 GPU-1: XID 79: off the bus");

  // A host that still looks for its devices is not taken for one that has lost them.
  facts = FactsWithGpus(0);
  facts.set_is_probing(true);
  facts.set_shim_version("newer");
  f.host.SetFacts(facts);
  testing::Await(5s, [&] { return f.hosts.GetInstance(kHost).shim_version == "newer"; });
  CHECK(f.hosts.GetInstance(kHost).resources->gpus_size() == 2);
  facts.set_is_probing(false);
  f.host.SetFacts(facts);
  testing::Await(5s, [&] { return f.hosts.GetInstance(kHost).resources->gpus_size() == 0; });
}

void SetDrain(Fixture& f, const std::optional<std::string>& reason) {
  REQUIRE(f.hosts.instances().SetDrain(kHost, reason, UserId("u"), f.clock.Now()).ok());
  f.driver->Wake();
}

bool IsConfirmed(Fixture& f) { return f.hosts.GetInstance(kHost).is_drain_confirmed; }

TEST_CASE("a drain is carried to the host and lifted again") {
  Fixture f;
  f.host.SetScript({.runs_on = true});
  f.DriveUntilReady();
  f.Assign("job-a");
  f.AwaitStatus("job-a", JOB_STATUS_RUNNING);
  SetDrain(f, "new kernel");
  testing::Await(5s, [&] { return IsConfirmed(f); });
  CHECK(f.host.drain() == "new kernel");
  CHECK(f.hosts.GetInstance(kHost).drain_live_tasks == 1);
  CHECK_FALSE(IsDrainedEmpty(f.hosts.GetInstance(kHost)));
  CHECK(f.GetJob("job-a").status == JOB_STATUS_RUNNING);
  f.host.Finish("job-a", 0);
  testing::Await(5s, [&] { return f.hosts.GetInstance(kHost).drain_live_tasks == 0; });
  SetDrain(f, std::nullopt);
  testing::Await(5s, [&] { return IsConfirmed(f); });
  CHECK_FALSE(f.host.drain().has_value());
}

TEST_CASE("a host that was away or has forgotten its drain is told when it is back") {
  Fixture f;
  f.DriveUntilReady();
  f.host.Stop();
  SetDrain(f, "new kernel");
  f.host.Start();
  testing::Await(5s, [&] { return IsConfirmed(f); });
  f.host.Stop();
  f.host.SetDrain(std::nullopt);
  f.host.Start();
  testing::Await(5s, [&] { return f.host.drain() == "new kernel"; });
  testing::Await(5s, [&] { return IsConfirmed(f); });
}

TEST_CASE("a drain that is set on the host itself is shown, and lifted from here") {
  Fixture f;
  f.DriveUntilReady();
  f.host.SetDrain("by hand");
  testing::Await(5s, [&] { return f.hosts.GetInstance(kHost).drain.has_value(); });
  CHECK(f.hosts.GetInstance(kHost).drain->reason == "by hand");
  SetDrain(f, std::nullopt);
  testing::Await(5s, [&] { return !f.host.drain().has_value(); });
}

// `count` samples, one a second, the last one of them at `end` on the host's clock.
shim::v1::HostMetricsBatch Load(const std::string& task_id, std::int64_t end, int count) {
  shim::v1::HostMetricsBatch batch;
  for (int i = 0; i < count; ++i) {
    shim::v1::HostMetrics* sample = batch.add_samples();
    sample->mutable_time()->set_seconds(end - count + 1 + i);
    sample->set_cpu_usage_ratio(0.5);
    shim::v1::TaskMetrics* task = sample->add_tasks();
    task->set_task_id(task_id);
    task->set_cpu_usage_micros(static_cast<std::uint64_t>(i) * 500'000);
    task->set_memory_used_bytes(7);
  }
  return batch;
}

TEST_CASE("what host and job use becomes points, whatever clock the host has") {
  Fixture f;
  f.host.SetScript({.runs_on = true});
  f.DriveUntilReady();
  f.Assign("job-a");
  f.AwaitStatus("job-a", JOB_STATUS_RUNNING);
  runner::v1::SessionResponse activity;
  activity.mutable_ssh_activity()->set_open_connections(2);
  f.host.TellUsage("job-a", activity);
  const auto points = [&](const std::string& id) {
    f.usage.Flush();
    return *f.usage_store.Read(id, {});
  };
  // Half a minute that was measured while the server was away, by a clock of the year 2001.
  constexpr std::int64_t kHostTime = 1'000'000'000;
  const TimePoint now = f.clock.Now();
  f.host.Measure(Load("job-a", kHostTime, 30));
  testing::Await(5s, [&] { return points("host-1").size() >= 2 && points("job-a").size() >= 2; });
  const auto host = points("host-1");
  CHECK(host[1].cpus_used() == Approx(2.0));
  CHECK(host[1].time().seconds() - host[0].time().seconds() == 10);
  const auto seconds = std::chrono::floor<std::chrono::seconds>(now.time_since_epoch()).count();
  CHECK(std::abs(host.back().time().seconds() - seconds) <= 30);
  CHECK(points("job-a")[1].cpus_used() == Approx(0.5));
  CHECK(points("job-a")[1].memory_used_bytes() == 7);
  // The end of the job is not lost.
  const std::size_t before = points("job-a").size();
  f.host.Finish("job-a", 0);
  f.AwaitReleased("job-a");
  testing::Await(5s, [&] { return points("job-a").size() > before; });
  CHECK(points("job-a").back().ssh_activity().open_connections() == 2);
}

TEST_CASE("samples of a time that cannot be become no points") {
  Fixture f;
  f.DriveUntilReady();
  const auto now = std::chrono::floor<std::chrono::seconds>(f.clock.Now().time_since_epoch());
  shim::v1::HostMetricsBatch batch = Load("job-a", now.count(), 30);
  batch.mutable_samples(3)->mutable_time()->set_seconds(std::numeric_limits<std::int64_t>::max());
  batch.mutable_samples(4)->mutable_time()->set_seconds(std::numeric_limits<std::int64_t>::min());
  f.host.Measure(batch);
  testing::Await(5s, [&] {
    f.usage.Flush();
    return f.usage_store.Read("host-1", {})->size() >= 2;
  });
  const auto points = f.usage_store.Read("host-1", {.limit = 100, .after = {}, .before = {}});
  for (const auto& point : *points) CHECK(std::abs(point.time().seconds() - now.count()) <= 40);
}

TEST_CASE("a job runs to its end: logs whole, exit status, everything removed") {
  Fixture f;
  f.host.SetScript({.lines = {"hello\n", "world\n"}, .exit_status = 3});
  f.DriveUntilReady();
  f.Assign("job-a");
  const Job job = f.AwaitReleased("job-a");
  CHECK(job.status == JOB_STATUS_FAILED);
  CHECK(job.exit_status == 3);
  CHECK(job.logs_ended);
  CHECK(f.Text("job-a") == "hello\nworld\n");
  CHECK(f.logs.IsEnded(JobId("job-a")));
  CHECK_FALSE(f.host.HasTask("job-a"));
  CHECK(f.host.starts("job-a") == 1);
}

TEST_CASE("a job that was assigned before the host was ready starts when it is") {
  Fixture f;
  f.hosts.AddJob(Fixture::Row("job-a"));
  f.Drive();
  CHECK(f.AwaitReleased("job-a").status == JOB_STATUS_DONE);
}

TEST_CASE("archives are sent before the start") {
  Fixture f;
  REQUIRE(f.files.Put(UserId("u"), "digest", std::string(2'500'000, 'x')).ok());
  f.host.SetScript(RunsOn());
  f.DriveUntilReady();
  JobAndRun row = Fixture::Row("job-a");
  auto* file = row.run.spec.add_files();
  file->set_digest("digest");
  file->set_path(".");
  f.hosts.AddJob(row);
  f.driver->Wake();
  f.AwaitStatus("job-a", JOB_STATUS_RUNNING);
  CHECK(f.host.archives("job-a") == std::string(2'500'000, 'x'));
}

TEST_CASE("an archive that is gone ends the job with its name") {
  Fixture f;
  f.DriveUntilReady();
  JobAndRun row = Fixture::Row("job-a");
  row.run.spec.add_files()->set_digest("digest");
  f.hosts.AddJob(row);
  f.driver->Wake();
  const Job job = f.AwaitReleased("job-a");
  CHECK(job.termination_reason == JOB_TERMINATION_REASON_EXECUTOR_ERROR);
  CHECK_THAT(job.termination_message, Catch::Contains("digest"));
  CHECK(f.host.starts("job-a") == 0);
}

TEST_CASE("an image that cannot be pulled fails the job with the host's words") {
  Fixture f;
  f.host.SetScript({.create_error = "no such image: x"});
  f.DriveUntilReady();
  f.Assign("job-a");
  const Job job = f.AwaitReleased("job-a");
  CHECK(job.termination_reason == JOB_TERMINATION_REASON_CREATING_CONTAINER_ERROR);
  CHECK(job.termination_message == "no such image: x");
  testing::Await(5s, [&] { return f.logs.IsEnded(JobId("job-a")); });
}

TEST_CASE("T7 a stop gives the grace to the runner") {
  Fixture f;
  f.host.SetScript(RunsOn());
  f.DriveUntilReady();
  f.Assign("job-a");
  f.AwaitStatus("job-a", JOB_STATUS_RUNNING);
  f.Stop("job-a", 7s);
  const Job job = f.AwaitReleased("job-a");
  CHECK(job.status == JOB_STATUS_TERMINATED);
  CHECK(job.exit_status == 143);
}

TEST_CASE("T7 an abort overrides a stop that is not obeyed") {
  Fixture f;
  auto script = RunsOn();
  script.ignores_stop = true;
  f.host.SetScript(script);
  f.DriveUntilReady();
  f.Assign("job-a");
  f.AwaitStatus("job-a", JOB_STATUS_RUNNING);
  f.Stop("job-a", 60s);
  testing::Await(5s, [&] { return f.host.stops_ms("job-a") == std::vector<std::int64_t>{60'000}; });
  f.Stop("job-a", 0s);
  CHECK(f.AwaitReleased("job-a").status == JOB_STATUS_TERMINATED);
}

TEST_CASE("T7 a command that survives its grace is killed with its container") {
  Fixture f;
  auto script = RunsOn();
  script.ignores_stop = true;
  f.host.SetScript(script);
  f.DriveUntilReady();
  f.Assign("job-a");
  f.AwaitStatus("job-a", JOB_STATUS_RUNNING);
  f.Stop("job-a", 10ms);
  CHECK(f.AwaitReleased("job-a").status == JOB_STATUS_TERMINATED);
}

TEST_CASE("a stop before the start never starts the command") {
  Fixture f;
  f.host.SetScript({.runs_on = true, .has_no_runner = true});
  f.DriveUntilReady();
  f.Assign("job-a");
  f.AwaitStatus("job-a", JOB_STATUS_PULLING);
  f.Stop("job-a", 60s);
  CHECK(f.AwaitReleased("job-a").status == JOB_STATUS_TERMINATED);
  CHECK(f.host.starts("job-a") == 0);
}

TEST_CASE("a job stopped before its host was ever reached ends without a task") {
  Fixture f;
  f.hosts.AddJob(Fixture::Row("job-a"));
  f.hosts.RequestStop(JobId("job-a"), JOB_TERMINATION_REASON_ABORTED_BY_USER, 0ms);
  f.Drive();
  CHECK(f.AwaitReleased("job-a").status == JOB_STATUS_ABORTED);
  CHECK(f.host.submits() == 0);
}

TEST_CASE("a container that is killed from outside still delivers its logs") {
  Fixture f;
  f.host.SetScript({.lines = {"last words\n"}, .runs_on = true});
  f.DriveUntilReady();
  f.Assign("job-a");
  f.AwaitStatus("job-a", JOB_STATUS_RUNNING);
  f.host.KillContainer("job-a");
  const Job job = f.AwaitReleased("job-a");
  CHECK(job.termination_reason == JOB_TERMINATION_REASON_CONTAINER_EXITED_WITH_ERROR);
  CHECK(f.Text("job-a") == "last words\n");
}

TEST_CASE("a runner that never answers ends the job with a word about it") {
  Fixture f;
  f.services.options.runner_start_timeout = 100ms;
  f.host.SetScript({.has_no_runner = true});
  f.DriveUntilReady();
  f.Assign("job-a");
  const Job job = f.AwaitReleased("job-a");
  CHECK(job.termination_reason == JOB_TERMINATION_REASON_WAITING_RUNNER_LIMIT_EXCEEDED);
  CHECK_THAT(job.termination_message, Catch::Contains("did not answer"));
}

TEST_CASE("a task that its host has lost is not run again") {
  Fixture f;
  f.host.SetScript(RunsOn());
  f.DriveUntilReady();
  f.Assign("job-a");
  f.AwaitStatus("job-a", JOB_STATUS_RUNNING);
  f.host.Stop();
  f.host.Forget("job-a");
  f.host.Start();
  const Job job = f.AwaitReleased("job-a");
  CHECK(job.termination_reason == JOB_TERMINATION_REASON_EXECUTOR_ERROR);
  CHECK_THAT(job.termination_message, Catch::Contains("not known to the host"));
  CHECK(f.host.starts("job-a") == 1);
}

TEST_CASE("T6 a lost connection is not a lost job") {
  Fixture f;
  f.host.SetScript(RunsOn());
  f.DriveUntilReady();
  f.Assign("job-a");
  f.AwaitStatus("job-a", JOB_STATUS_RUNNING);
  f.host.Print("job-a", "one\n");
  testing::AwaitEqual(
      5s, [&] { return f.Text("job-a"); }, "one\n");

  f.host.Stop();
  testing::Await(5s, [&] { return f.GetJob("job-a").unreachable_since.has_value(); });
  CHECK(f.hosts.GetInstance(kHost).is_unreachable);
  CHECK(f.GetJob("job-a").status == JOB_STATUS_RUNNING);
  f.host.Print("job-a", "two\n");
  f.host.Finish("job-a", 5);

  f.host.Start();
  const Job job = f.AwaitReleased("job-a");
  CHECK(job.exit_status == 5);
  CHECK(f.Text("job-a") == "one\ntwo\n");
  CHECK_FALSE(f.hosts.GetInstance(kHost).is_unreachable);
  CHECK(f.host.starts("job-a") == 1);
}

TEST_CASE("T6 a host that stays silent loses its jobs, and late containers are removed") {
  Fixture f;
  f.services.options.host_lost_after = 300ms;
  f.host.SetScript(RunsOn());
  f.DriveUntilReady();
  f.Assign("job-a");
  f.AwaitStatus("job-a", JOB_STATUS_RUNNING);
  f.host.Stop();
  f.AwaitStatus("job-a", JOB_STATUS_FAILED);
  CHECK(f.GetJob("job-a").termination_reason == JOB_TERMINATION_REASON_INSTANCE_UNREACHABLE);
  CHECK_FALSE(f.GetJob("job-a").is_released);
  f.host.Start();
  CHECK(f.AwaitReleased("job-a").status == JOB_STATUS_FAILED);
  CHECK_FALSE(f.host.HasTask("job-a"));
}

TEST_CASE("a stop on a silent host ends in time") {
  Fixture f;
  f.host.SetScript(RunsOn());
  f.DriveUntilReady();
  f.Assign("job-a");
  f.AwaitStatus("job-a", JOB_STATUS_RUNNING);
  f.host.Stop();
  f.Stop("job-a", 10ms);
  f.AwaitStatus("job-a", JOB_STATUS_TERMINATED);
  f.host.Start();
  f.AwaitReleased("job-a");
}

TEST_CASE("a new driver goes on where the old one stopped") {
  Fixture f;
  f.host.SetScript({.lines = {"one\n"}, .runs_on = true});
  f.DriveUntilReady();
  f.Assign("job-a");
  f.AwaitStatus("job-a", JOB_STATUS_RUNNING);
  testing::AwaitEqual(
      5s, [&] { return f.Text("job-a"); }, "one\n");
  const auto epoch = f.host.epoch();
  f.Drive();
  testing::Await(5s, [&] { return f.driver->IsReadyNow(); });
  CHECK(f.host.epoch() > epoch);
  f.host.Print("job-a", "two\n");
  f.host.Finish("job-a", 0);
  CHECK(f.AwaitReleased("job-a").status == JOB_STATUS_DONE);
  CHECK(f.Text("job-a") == "one\ntwo\n");
  CHECK(f.host.starts("job-a") == 1);
  CHECK(f.host.submits() == 1);
}

TEST_CASE("tasks without a job are ended and removed") {
  Fixture f;
  f.host.AddStranger("stranger");
  f.DriveUntilReady();
  testing::Await(5s, [&] { return !f.host.HasTask("stranger"); });
}

TEST_CASE("a job whose run was deleted is removed from the host") {
  Fixture f;
  f.host.SetScript(RunsOn());
  f.DriveUntilReady();
  f.Assign("job-a");
  f.AwaitStatus("job-a", JOB_STATUS_RUNNING);
  f.hosts.DeleteJob(JobId("job-a"));
  f.driver->Wake();
  f.Drive();
  testing::Await(5s, [&] { return !f.host.HasTask("job-a"); });
}

TEST_CASE("whoever lost the host writes nothing and stops") {
  Fixture f;
  f.host.SetScript(RunsOn());
  f.DriveUntilReady();
  f.Assign("job-a");
  f.AwaitStatus("job-a", JOB_STATUS_RUNNING);
  f.hosts.StealHost(kHost);
  f.host.Finish("job-a", 0);
  testing::Await(5s, [&] { return f.driver->IsDone(); });
  CHECK(f.GetJob("job-a").status == JOB_STATUS_RUNNING);
}

TEST_CASE("a database that is away for a while loses nothing") {
  Fixture f;
  f.host.SetScript(RunsOn());
  f.DriveUntilReady();
  f.Assign("job-a");
  f.AwaitStatus("job-a", JOB_STATUS_RUNNING);
  const absl::Status away = base::Unavailable("away");
  f.hosts.FailAll(away);
  f.logs.FailAll(away);
  f.host.Print("job-a", "hidden\n");
  f.host.Finish("job-a", 4);
  testing::Await(5s, [&] { return f.ingest.pending_bytes() > 0; });
  f.logs.FailAll(absl::OkStatus());
  f.hosts.FailAll(absl::OkStatus());
  CHECK(f.AwaitReleased("job-a").exit_status == 4);
  CHECK(f.Text("job-a") == "hidden\n");
}

TEST_CASE("a host that cannot be set up says why and is given up in the end") {
  Fixture f;
  f.installer.FailWith(
      base::Error(absl::StatusCode::kPermissionDenied, "ACCESS_DENIED", "bad key"));
  f.services.options.provisioning_timeout = 300ms;
  f.Drive();
  testing::AwaitEqual(
      5s, [&] { return f.hosts.GetInstance(kHost).status_message; }, "bad key");
  testing::Await(5s, [&] { return f.driver->IsDone(); });
  const Instance instance = f.hosts.GetInstance(kHost);
  CHECK(instance.status == INSTANCE_STATUS_TERMINATED);
  CHECK(instance.termination_reason == INSTANCE_TERMINATION_REASON_PROVISIONING_TIMEOUT);
}

TEST_CASE("blocks that do not divide the host end it at once, cleaned up") {
  Fixture f;
  f.hosts.ChangeInstance(kHost, [](Instance& instance) {
    instance.wanted_blocks = 3;
    return true;
  });
  f.Drive();
  testing::Await(5s, [&] { return f.driver->IsDone(); });
  const Instance instance = f.hosts.GetInstance(kHost);
  CHECK(instance.status == INSTANCE_STATUS_TERMINATED);
  CHECK(instance.termination_reason == INSTANCE_TERMINATION_REASON_ERROR);
  CHECK_THAT(instance.status_message, Catch::Contains("3 does not divide the 4 CPUs"));
}

void EndHost(Fixture& f) {
  f.hosts.ChangeInstance(kHost, [](Instance& instance) {
    instance.status = INSTANCE_STATUS_TERMINATING;
    instance.termination_reason = INSTANCE_TERMINATION_REASON_TERMINATED_BY_USER;
    return true;
  });
  f.driver->Wake();
}

TEST_CASE("a host that is deleted is left clean") {
  Fixture f;
  f.DriveUntilReady();
  EndHost(f);
  testing::Await(5s, [&] { return f.driver->IsDone(); });
  CHECK(f.hosts.GetInstance(kHost).status == INSTANCE_STATUS_TERMINATED);
  base::MutexLock lock(f.installer.mutex_);
  CHECK(f.installer.uninstalls == 1);
}

TEST_CASE("a silent host that is deleted is forgotten in time") {
  Fixture f;
  f.DriveUntilReady();
  f.host.Stop();
  EndHost(f);
  testing::Await(5s, [&] { return f.driver->IsDone(); });
  CHECK(f.hosts.GetInstance(kHost).status == INSTANCE_STATUS_TERMINATED);
}

TEST_CASE("many jobs at once") {
  Fixture f;
  f.host.SetScript({.lines = {"x\n"}});
  f.DriveUntilReady();
  constexpr int kJobs = 40;
  for (int i = 0; i < kJobs; ++i) f.hosts.AddJob(Fixture::Row(fmt::format("job-{:02}", i)));
  f.driver->Wake();
  for (int i = 0; i < kJobs; ++i) {
    const std::string id = fmt::format("job-{:02}", i);
    CHECK(f.AwaitReleased(id).status == JOB_STATUS_DONE);
    CHECK(f.Text(id) == "x\n");
  }
  CHECK(f.host.task_ids().empty());
}

}  // namespace
}  // namespace dstack::server
