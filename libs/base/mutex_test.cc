#include "libs/base/mutex.h"

#include <thread>
#include <vector>

#include <catch2/catch.hpp>

namespace dstack::base {
namespace {

TEST_CASE("the lock excludes") {
  Mutex mutex;
  int count = 0;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < 10'000; ++i) {
          MutexLock lock(mutex);
          ++count;
        }
      });
    }
  }
  CHECK(count == 40'000);
}

TEST_CASE("waiting ends at the deadline") {
  Mutex mutex;
  CondVar never;
  MutexLock lock(mutex);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(1);
  while (never.WaitUntil(mutex, deadline)) {
  }
  CHECK(std::chrono::steady_clock::now() >= deadline);
}

TEST_CASE("a notification wakes the waiter") {
  Mutex mutex;
  CondVar changed;
  bool ready = false;
  std::jthread other([&] {
    MutexLock lock(mutex);
    ready = true;
    changed.NotifyAll();
  });
  MutexLock lock(mutex);
  while (!ready) changed.Wait(mutex);
  CHECK(ready);
}

}  // namespace
}  // namespace dstack::base
