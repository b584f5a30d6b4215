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

TEST_CASE("threads are started when tasks want them, and no more than allowed") {
  ThreadPool pool("test", 3);
  CHECK(pool.threads() == 1);
  for (int i = 0; i < 20; ++i) {
    std::promise<void> done;
    pool.Post([&] { done.set_value(); });
    done.get_future().wait();
  }
  // One at a time: the first thread may not have been idle yet at one or another moment.
  CHECK(pool.threads() <= 3);
  std::promise<void> release;
  const std::shared_future<void> released = release.get_future().share();
  std::atomic<int> running = 0;
  for (int i = 0; i < 5; ++i) {
    pool.Post([&running, released] {
      ++running;
      released.wait();
    });
  }
  testing::AwaitEqual(
      5s, [&] { return running.load(); }, 3);
  CHECK(pool.threads() == 3);
  CHECK(pool.queued() == 2);
  release.set_value();
  pool.Shutdown();
  CHECK(running == 5);
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
