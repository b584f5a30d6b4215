#include "services/server/ports/notifications.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <mutex>
#include <set>

#include <catch2/catch.hpp>

#include "libs/testing/await.h"
#include "services/server/store/postgres_notifications.h"
#include "tests/component/store/store_fixture.h"

namespace dstack::server {
namespace {

using namespace std::chrono_literals;

// Payloads that arrived on each channel.
class Recorder {
 public:
  explicit Recorder(Notifications& notifications) {
    for (const char* name : {channel::kWork, channel::kHost, channel::kRun, channel::kLog}) {
      subscriptions_.push_back(notifications.Subscribe(
          name, [this, name](const std::string& payload) { Add(name, payload); }));
    }
  }

  bool Has(const std::string& channel, const std::string& payload) const {
    const std::lock_guard lock(mutex_);
    const auto found = seen_.find(channel);
    return found != seen_.end() && found->second.contains(payload);
  }
  void Await(const std::string& channel, const std::string& payload) {
    INFO(channel << " " << payload);
    testing::Await(10s, [&] { return Has(channel, payload); });
  }
  void Clear() {
    const std::lock_guard lock(mutex_);
    seen_.clear();
  }

 private:
  void Add(const std::string& channel, const std::string& payload) {
    const std::lock_guard lock(mutex_);
    seen_[channel].insert(payload);
  }

  mutable std::mutex mutex_;
  std::map<std::string, std::set<std::string>> seen_;
  std::vector<std::unique_ptr<Subscription>> subscriptions_;
};

TEST_CASE("every write tells those who wait for it") {
  StoreFixture f;
  PostgresNotifications notifications(f.conninfo);
  Recorder recorder(notifications);
  recorder.Await(channel::kRun, "");  // connected

  const Instance host = f.AddHosts("fleet", 1).front();
  recorder.Await(channel::kHost, "claim");
  recorder.Await(channel::kWork, "jobs");
  recorder.Clear();

  const RunAndJobs run = f.Submit("train");
  const JobId job = run.jobs[0].id;
  recorder.Await(channel::kRun, run.run.id.str());
  recorder.Await(channel::kWork, "jobs");
  recorder.Clear();

  REQUIRE(f.Assign(run, host).ok());
  recorder.Await(channel::kHost, host.id.str());
  recorder.Await(channel::kRun, run.run.id.str());
  recorder.Clear();

  LogStore::Append append;
  append.job_id = job;
  append.batch.set_source(common::v1::LOG_SOURCE_JOB);
  append.batch.add_records()->set_sequence(1);
  append.is_end = true;
  REQUIRE(f.stores.logs.AppendAll({append}).ok());
  recorder.Await(channel::kLog, job.str() + ":1:1:1");

  REQUIRE(f.stores.runs.RequestStop(f.project.id, {"train"}, false, f.now()).ok());
  recorder.Await(channel::kHost, host.id.str());
  recorder.Await(channel::kWork, "runs");
  recorder.Clear();

  REQUIRE(f.Change(host, job, [](Job& changed) {
             changed.status = FinalStatusOf(changed.termination_reason);
             changed.is_released = true;
             return true;
           }).ok());
  recorder.Await(channel::kRun, run.run.id.str());
  recorder.Await(channel::kWork, "jobs");
  recorder.Clear();

  REQUIRE(f.stores.fleets.Delete(f.project.id, {"fleet"}, {}, false, f.now()).ok());
  recorder.Await(channel::kHost, host.id.str());
}

TEST_CASE("after a reconnect every subscriber is called once with nothing") {
  StoreFixture f;
  PostgresNotifications notifications(f.conninfo);
  Recorder recorder(notifications);
  recorder.Await(channel::kRun, "");
  recorder.Clear();
  testing::MiniPostgres::Get().Restart();
  for (const char* name : {channel::kWork, channel::kHost, channel::kRun, channel::kLog}) {
    recorder.Await(name, "");
  }
  const RunAndJobs run = f.Submit("train");
  recorder.Await(channel::kRun, run.run.id.str());
}

TEST_CASE("no callback runs after the end of its subscription") {
  StoreFixture f;
  PostgresNotifications notifications(f.conninfo);
  Recorder witness(notifications);
  witness.Await(channel::kRun, "");
  std::atomic<int> calls = 0;
  auto subscription = notifications.Subscribe(channel::kRun, [&](const std::string&) { ++calls; });
  subscription.reset();
  const RunAndJobs run = f.Submit("train");
  witness.Await(channel::kRun, run.run.id.str());
  CHECK(calls == 0);
}

TEST_CASE("a listener without a server ends at once") {
  const auto begin = std::chrono::steady_clock::now();
  { PostgresNotifications notifications("host=/nonexistent dbname=x"); }
  CHECK(std::chrono::steady_clock::now() - begin < 5s);
}

}  // namespace
}  // namespace dstack::server
