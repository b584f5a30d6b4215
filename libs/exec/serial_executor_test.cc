#include "libs/exec/serial_executor.h"

#include <algorithm>
#include <atomic>
#include <future>
#include <thread>
#include <vector>

#include <catch2/catch.hpp>

#include "libs/exec/thread_pool.h"
#include "libs/testing/await.h"

namespace dstack::exec {
namespace {

using namespace std::chrono_literals;

struct Fixture {
  ThreadPool pool{"test", 4};
  TimerQueue timers;
};

TEST_CASE("tasks of one strand keep their order and never overlap") {
  Fixture f;
  std::vector<int> seen;  // unguarded on purpose: the strand is the lock
  {
    SerialExecutor strand(f.pool, f.timers);
    for (int i = 0; i < 5000; ++i) strand.Post([&seen, i] { seen.push_back(i); });
  }
  REQUIRE(seen.size() == 5000);
  CHECK(std::is_sorted(seen.begin(), seen.end()));
}

TEST_CASE("many posters lose nothing") {
  Fixture f;
  int count = 0;
  {
    SerialExecutor strand(f.pool, f.timers);
    {
      std::vector<std::jthread> posters;
      for (int t = 0; t < 4; ++t) {
        posters.emplace_back([&] {
          for (int i = 0; i < 2000; ++i) strand.Post([&count] { ++count; });
        });
      }
    }
    strand.Drain();
    CHECK(count == 8000);
  }
}

TEST_CASE("a strand that is busy does not hold up another") {
  Fixture f;
  SerialExecutor busy(f.pool, f.timers);
  SerialExecutor other(f.pool, f.timers);
  std::promise<void> release;
  std::atomic<bool> ran = false;
  busy.Post([&] { release.get_future().wait(); });
  other.Post([&] { ran = true; });
  // Not Drain: were it held up, this test would hang instead of failing.
  testing::AwaitEqual(
      5s, [&] { return ran.load(); }, true);
  release.set_value();
  busy.Drain();
}

TEST_CASE("a delayed task runs on the strand") {
  Fixture f;
  SerialExecutor strand(f.pool, f.timers);
  std::promise<bool> is_current;
  strand.PostAfter(1ms, [&] { is_current.set_value(strand.IsCurrent()); });
  CHECK(is_current.get_future().get());
  CHECK_FALSE(strand.IsCurrent());
}

TEST_CASE("a cancelled task does not run, even when its time has come") {
  Fixture f;
  SerialExecutor strand(f.pool, f.timers);
  std::promise<void> release;
  std::atomic<bool> ran = false;
  // Keeps the strand busy while the timer becomes due behind it.
  strand.Post([&] { release.get_future().wait(); });
  TimerHandle handle = strand.PostAfter(1ms, [&] { ran = true; });
  testing::AwaitEqual(
      5s, [&] { return f.timers.size(); }, 0U);
  CHECK(handle.Cancel());
  CHECK_FALSE(handle.Cancel());
  release.set_value();
  strand.Drain();
  CHECK_FALSE(ran);
}

TEST_CASE("cancelling after the run says so") {
  Fixture f;
  SerialExecutor strand(f.pool, f.timers);
  std::promise<void> done;
  TimerHandle handle = strand.PostAfter(0ms, [&] { done.set_value(); });
  done.get_future().wait();
  CHECK_FALSE(handle.Cancel());
}

TEST_CASE("destruction drops what is not due") {
  Fixture f;
  std::atomic<bool> ran = false;
  {
    SerialExecutor strand(f.pool, f.timers);
    strand.PostAfter(1h, [&] { ran = true; });
  }
  CHECK_FALSE(ran);
}

TEST_CASE("a task may post while the strand ends") {
  Fixture f;
  std::atomic<int> ran = 0;
  {
    SerialExecutor strand(f.pool, f.timers);
    strand.Post([&] {
      ++ran;
      strand.Post([&] { ++ran; });
    });
    strand.Drain();
  }
  CHECK(ran >= 1);
}

}  // namespace
}  // namespace dstack::exec
