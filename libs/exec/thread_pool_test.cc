#include "libs/exec/thread_pool.h"

#include <atomic>
#include <future>

#include <catch2/catch.hpp>

#include "libs/testing/await.h"

namespace dstack::exec {
namespace {

using namespace std::chrono_literals;

TEST_CASE("a pool runs everything before it ends") {
  std::atomic<int> count = 0;
  {
    ThreadPool pool("test", 3);
    for (int i = 0; i < 1000; ++i) pool.Post([&] { ++count; });
  }
  CHECK(count == 1000);
}

TEST_CASE("tasks run at the same time on different threads") {
  ThreadPool pool("test", 2);
  std::promise<void> first;
  std::promise<void> second;
  pool.Post([&] {
    first.set_value();
    second.get_future().wait();
  });
  pool.Post([&] {
    first.get_future().wait();
    second.set_value();
  });
  pool.Shutdown();
  CHECK(pool.queued() == 0);
}

TEST_CASE("posts after the shutdown are dropped") {
  ThreadPool pool("test", 1);
  pool.Shutdown();
  bool ran = false;
  pool.Post([&] { ran = true; });
  pool.Shutdown();
  CHECK_FALSE(ran);
}

TEST_CASE("queued tells how many wait") {
  ThreadPool pool("test", 1);
  std::promise<void> release;
  pool.Post([&] { release.get_future().wait(); });
  testing::AwaitEqual(
      5s, [&] { return pool.queued(); }, 0U);
  pool.Post([] {});
  CHECK(pool.queued() == 1);
  release.set_value();
}

}  // namespace
}  // namespace dstack::exec
