#include "libs/testing/await.h"

#include <atomic>
#include <thread>

#include <catch2/catch.hpp>

namespace dstack::testing {
namespace {

using namespace std::chrono_literals;

TEST_CASE("await sees what another thread does") {
  std::atomic<int> value = 0;
  std::jthread other([&] { value = 7; });
  AwaitEqual(
      5s, [&] { return value.load(); }, 7);
  Await(5s, [&] { return value == 7; });
}

}  // namespace
}  // namespace dstack::testing
