#include "libs/testing/manual_executor.h"

#include <vector>

#include <catch2/catch.hpp>

namespace dstack::testing {
namespace {

using namespace std::chrono_literals;

TEST_CASE("nothing runs until told") {
  ManualClock clock;
  ManualExecutor executor(clock);
  int count = 0;
  executor.Post([&] {
    ++count;
    executor.Post([&] { ++count; });
  });
  CHECK(count == 0);
  CHECK(executor.RunReady() == 2);
  CHECK(count == 2);
}

TEST_CASE("timers run at their times, in order, and can be cancelled") {
  ManualClock clock;
  ManualExecutor executor(clock);
  const auto start = clock.MonotonicNow();
  std::vector<base::Duration> times;
  const auto record = [&] { times.push_back(clock.MonotonicNow() - start); };
  executor.PostAfter(2s, record);
  executor.PostAfter(1s, [&] {
    record();
    executor.PostAfter(500ms, record);
  });
  exec::TimerHandle cancelled = executor.PostAfter(1s, record);
  CHECK(cancelled.Cancel());
  CHECK(executor.pending() == 2);
  CHECK(executor.AdvanceBy(10s) == 3);
  CHECK(times == std::vector<base::Duration>{1s, 1500ms, 2s});
  CHECK(clock.MonotonicNow() - start == 10s);
  CHECK(executor.pending() == 0);
}

TEST_CASE("wall time can jump alone") {
  ManualClock clock;
  const auto wall = clock.Now();
  const auto monotonic = clock.MonotonicNow();
  clock.JumpWallTime(-1h);
  CHECK(clock.Now() == wall - 1h);
  CHECK(clock.MonotonicNow() == monotonic);
}

}  // namespace
}  // namespace dstack::testing
