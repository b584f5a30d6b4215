#include "libs/exec/timer.h"

#include <future>
#include <vector>

#include <catch2/catch.hpp>

#include "libs/exec/thread_pool.h"

namespace dstack::exec {
namespace {

using namespace std::chrono_literals;

TEST_CASE("timers fire in the order of their times") {
  TimerQueue timers;
  std::vector<int> order;
  std::promise<void> done;
  timers.CallAfter(20ms, [&] {
    order.push_back(2);
    done.set_value();
  });
  timers.CallAfter(1ms, [&] { order.push_back(1); });
  done.get_future().wait();
  CHECK(order == std::vector<int>{1, 2});
  CHECK(timers.size() == 0);
}

TEST_CASE("a timer posts to its executor") {
  ThreadPool pool("test", 1);
  TimerQueue timers;
  std::promise<void> done;
  timers.PostAfter(pool, 1ms, [&] { done.set_value(); });
  CHECK(done.get_future().wait_for(5s) == std::future_status::ready);
}

TEST_CASE("a cancelled timer does not fire and an end does not wait for it") {
  bool fired = false;
  {
    TimerQueue timers;
    TimerHandle handle = timers.CallAfter(1h, [&] { fired = true; });
    CHECK(handle.Cancel());
    CHECK(handle.cancelled());
  }
  CHECK_FALSE(fired);
  CHECK_FALSE(TimerHandle().Cancel());
}

}  // namespace
}  // namespace dstack::exec
