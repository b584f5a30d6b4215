#include "services/shim/adapters/shared_pulls.h"

#include <atomic>
#include <chrono>
#include <future>

#include <catch2/catch.hpp>

#include "libs/base/status.h"
#include "libs/docker/pull_error.h"
#include "libs/testing/await.h"

namespace dstack::shim {
namespace {

using namespace std::chrono_literals;

// An engine of which the test decides when and how each pull ends.
class Engine {
 public:
  absl::Status Pull(const docker::PullOptions& options, const std::stop_token& stop) {
    ++begun;
    const auto event = docker::ParsePullEvent(
        R"({"status":"Downloading","progressDetail":{"current":1,"total":2},"id":"a"})");
    docker::PullTracker tracker;
    tracker.Add(*event);
    options.on_progress(tracker);
    options.on_line("a line");
    while (!stop.stop_requested()) {
      base::MutexLock lock(mutex_);
      if (!results_.empty()) {
        absl::Status status = results_.back();
        results_.pop_back();
        return status;
      }
      changed_.WaitFor(mutex_, 5ms);
    }
    ++cancelled;
    return absl::CancelledError("");
  }
  void End(const absl::Status& status) {
    base::MutexLock lock(mutex_);
    results_.insert(results_.begin(), status);
  }

  std::atomic<int> begun = 0;
  std::atomic<int> cancelled = 0;

 private:
  base::Mutex mutex_;
  base::CondVar changed_;
  std::vector<absl::Status> results_ GUARDED_BY(mutex_);
};

struct Fixture {
  Engine engine;
  base::SeededRandom random{1};
  SharedPulls pulls{[this](const docker::PullOptions& options, const std::stop_token& stop) {
                      return engine.Pull(options, stop);
                    },
                    {.max_attempts = 3, .backoff = {.initial = 1ms, .max = 1ms}},
                    random};

  struct Waiter {
    std::stop_source stop;
    std::atomic<int> progress = 0;
    std::atomic<std::uint32_t> attempt = 0;
    std::string log;
    std::future<absl::Status> result;
  };
  std::unique_ptr<Waiter> Begin(const std::string& reference, const std::string& password = "") {
    auto waiter = std::make_unique<Waiter>();
    std::optional<docker::RegistryCredentials> credentials;
    if (!password.empty()) credentials = {.username = "u", .password = password};
    waiter->result =
        std::async(std::launch::async, [this, reference, credentials, w = waiter.get()] {
          const PullObserver observer{.on_progress =
                                          [w](const v1::PullProgress& progress) {
                                            ++w->progress;
                                            w->attempt = progress.attempt();
                                          },
                                      .on_lines = [w](const std::string& text) { w->log += text; }};
          return pulls.Pull(reference, credentials, observer, w->stop.get_token());
        });
    testing::Await(10s, [&] { return waiter->progress > 0; });
    return waiter;
  }
};

TEST_CASE("tasks that want one image share one pull and all hear of it") {
  Fixture fixture;
  const auto first = fixture.Begin("a:1");
  const auto second = fixture.Begin("a:1");
  CHECK(fixture.engine.begun == 1);
  fixture.engine.End(absl::OkStatus());
  CHECK(first->result.get().ok());
  CHECK(second->result.get().ok());
  CHECK(first->log == "a line\n");
  CHECK(second->log == "a line\n");
  const auto later = fixture.Begin("a:1");
  CHECK(fixture.engine.begun == 2);
  fixture.engine.End(absl::OkStatus());
  CHECK(later->result.get().ok());
}

TEST_CASE("other credentials are another pull") {
  Fixture fixture;
  const auto first = fixture.Begin("a:1", "x");
  const auto second = fixture.Begin("a:1", "y");
  const auto third = fixture.Begin("a:1");
  CHECK(fixture.engine.begun == 3);
  for (const auto* waiter : {&first, &second, &third}) (*waiter)->stop.request_stop();
}

TEST_CASE("whoever is cancelled leaves at once; the pull ends with the last") {
  Fixture fixture;
  const auto first = fixture.Begin("a:1");
  const auto second = fixture.Begin("a:1");
  first->stop.request_stop();
  CHECK(absl::IsCancelled(first->result.get()));
  CHECK(fixture.engine.cancelled == 0);
  second->stop.request_stop();
  CHECK(absl::IsCancelled(second->result.get()));
  CHECK(fixture.engine.cancelled == 1);
}

TEST_CASE("what may pass is tried again, up to a limit, and said so") {
  Fixture fixture;
  const auto busy = docker::PullError("toomanyrequests: later");
  fixture.engine.End(busy);
  const auto waiter = fixture.Begin("a:1");
  testing::Await(10s, [&] { return waiter->attempt == 2; });
  fixture.engine.End(absl::OkStatus());
  CHECK(waiter->result.get().ok());

  for (int i = 0; i < 3; ++i) fixture.engine.End(busy);
  const auto hopeless = fixture.Begin("b:1");
  CHECK(base::Reason(hopeless->result.get()) == docker::kPullRateLimited);
  CHECK(fixture.engine.begun == 5);
  CHECK(hopeless->log.find("429") != std::string::npos);
}

TEST_CASE("what will not pass is not tried again") {
  Fixture fixture;
  fixture.engine.End(docker::PullError("manifest unknown"));
  const auto waiter = fixture.Begin("a:1");
  CHECK(base::Reason(waiter->result.get()) == docker::kPullNotFound);
  CHECK(fixture.engine.begun == 1);
}

TEST_CASE("a pull that waits for its next attempt is cancelled at once") {
  base::SeededRandom random{1};
  std::atomic<int> begun = 0;
  SharedPulls pulls(
      [&](const docker::PullOptions&, const std::stop_token&) {
        ++begun;
        return docker::PullError("connection refused");
      },
      {.backoff = {.initial = 1h, .max = 1h}},
      random);
  std::stop_source stop;
  auto result = std::async(std::launch::async,
                           [&] { return pulls.Pull("a:1", std::nullopt, {}, stop.get_token()); });
  testing::Await(10s, [&] { return begun == 1; });
  stop.request_stop();
  REQUIRE(result.wait_for(10s) == std::future_status::ready);
  CHECK(absl::IsCancelled(result.get()));
}

}  // namespace
}  // namespace dstack::shim
