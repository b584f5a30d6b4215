#include "services/runner/serve/usage_reporter.h"

#include <catch2/catch.hpp>

#include "libs/testing/manual_clock.h"

namespace dstack::runner {
namespace {

using namespace std::chrono_literals;

struct Fixture {
  void SetState(v1::JobState state, std::uint32_t ssh_port) {
    v1::JobStatus status;
    status.set_state(state);
    status.set_ssh_port(ssh_port);
    reporter.OnStatus(status);
  }
  void Pass(std::chrono::seconds time) {
    clock.Advance(time);
    reporter.Tick();
  }
  std::size_t Activities() const {
    std::size_t count = 0;
    for (const auto& response : sent) count += response.has_ssh_activity() ? 1 : 0;
    return count;
  }

  EventLoop loop;
  testing::ManualClock clock;
  std::vector<SshConnection> connections;
  bool takes = true;
  std::vector<v1::SessionResponse> sent;
  UsageReporter reporter{loop,
                         clock,
                         {.sample_job = [] { return v1::JobMetrics(); },
                          .list_ssh =
                              [this](std::uint16_t port) {
                                CHECK(port == 10022);
                                return connections;
                              },
                          .start_gpus = {}},
                         [this](v1::SessionResponse response) {
                           if (takes) sent.push_back(std::move(response));
                           return takes;
                         }};
};

TEST_CASE("metrics are told only while the command runs") {
  Fixture f;
  f.SetState(v1::JOB_STATE_PREPARING, 0);
  f.Pass(1s);
  CHECK(f.sent.empty());
  f.SetState(v1::JOB_STATE_RUNNING, 0);
  f.Pass(1s);
  f.SetState(v1::JOB_STATE_STOPPING, 0);
  CHECK(f.sent.size() == 2);
  CHECK(f.sent[0].has_metrics());
  f.SetState(v1::JOB_STATE_FINISHED, 0);
  f.Pass(1s);
  CHECK(f.sent.size() == 2);
}

TEST_CASE("C1 activity is told at each change and every five seconds") {
  Fixture f;
  f.SetState(v1::JOB_STATE_RUNNING, 10022);
  REQUIRE(f.Activities() == 1);
  CHECK(f.sent.back().ssh_activity().open_connections() == 0);
  f.connections = {{.peer = "a", .received_bytes = 3, .sent_bytes = {}}};
  f.Pass(1s);
  CHECK(f.Activities() == 1);
  f.Pass(4s);
  REQUIRE(f.Activities() == 2);
  CHECK(f.sent.back().ssh_activity().inactive().seconds() == 5);
  CHECK(f.sent.back().ssh_activity().received_bytes() == 3);
  CHECK_FALSE(f.sent.back().ssh_activity().has_sent_bytes());
  f.Pass(4s);
  f.Pass(3s);
  // The connection is not young any more.
  CHECK(f.sent.back().ssh_activity().open_connections() == 1);
  CHECK(f.sent.back().ssh_activity().inactive().seconds() == 0);
}

TEST_CASE("what a session did not take is told to the next one at once") {
  Fixture f;
  f.takes = false;
  f.SetState(v1::JOB_STATE_RUNNING, 10022);
  f.takes = true;
  f.reporter.OnSession();
  CHECK(f.Activities() == 1);
  f.reporter.OnSession();
  CHECK(f.Activities() == 2);
}

}  // namespace
}  // namespace dstack::runner
