#include "libs/exec/bounded_queue.h"

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <catch2/catch.hpp>

namespace dstack::exec {
namespace {

using namespace std::chrono_literals;

TEST_CASE("items come out in order") {
  BoundedQueue<int> queue(3);
  CHECK(queue.Push(1).ok());
  CHECK(queue.TryPush(2));
  CHECK(*queue.Pop() == 1);
  CHECK(queue.TryPop() == 2);
  CHECK(queue.TryPop() == std::nullopt);
}

TEST_CASE("a full queue refuses and keeps the item with its owner") {
  BoundedQueue<std::unique_ptr<int>> queue(1);
  REQUIRE(queue.TryPush(std::make_unique<int>(1)));
  auto item = std::make_unique<int>(2);
  CHECK_FALSE(queue.TryPush(item));
  // What was refused was not moved from.
  // NOLINTBEGIN(clang-analyzer-cplusplus.Move)
  CHECK(*item == 2);
  CHECK(absl::IsDeadlineExceeded(queue.Push(std::move(item), base::DeadlineIn(1ms))));
  // NOLINTEND(clang-analyzer-cplusplus.Move)
}

TEST_CASE("an empty queue answers at the deadline") {
  BoundedQueue<int> queue(1);
  CHECK(absl::IsDeadlineExceeded(queue.Pop(base::DeadlineIn(1ms)).status()));
}

TEST_CASE("a closed queue gives what it holds and then ends") {
  BoundedQueue<int> queue(2);
  REQUIRE(queue.Push(1).ok());
  queue.Close();
  CHECK(absl::IsCancelled(queue.Push(2)));
  CHECK(*queue.Pop() == 1);
  CHECK(absl::IsCancelled(queue.Pop().status()));
  CHECK(queue.closed());
}

TEST_CASE("the bound can count bytes, and one large item passes alone") {
  BoundedQueue<std::string> queue(10, [](const std::string& s) { return s.size(); });
  CHECK(queue.TryPush("12345678"));
  CHECK_FALSE(queue.TryPush("123"));
  CHECK(queue.TryPush("12"));
  CHECK(queue.weight() == 10);
  CHECK(queue.Pop()->size() == 8);
  CHECK(queue.Pop()->size() == 2);
  CHECK(queue.TryPush(std::string(100, 'x')));
  CHECK_FALSE(queue.TryPush("1"));
  CHECK(queue.Pop()->size() == 100);
  CHECK(queue.weight() == 0);
}

TEST_CASE("a waiting producer and a waiting consumer meet") {
  BoundedQueue<int> queue(4);
  std::vector<int> seen;
  std::jthread consumer([&] {
    for (auto item = queue.Pop(); item.ok(); item = queue.Pop()) seen.push_back(*item);
  });
  for (int i = 0; i < 2000; ++i) REQUIRE(queue.Push(i).ok());
  queue.Close();
  consumer.join();
  CHECK(seen.size() == 2000);
}

TEST_CASE("closing wakes a waiting producer") {
  BoundedQueue<int> queue(1);
  REQUIRE(queue.Push(1).ok());
  std::jthread closer([&] { queue.Close(); });
  CHECK(absl::IsCancelled(queue.Push(2)));
}

}  // namespace
}  // namespace dstack::exec
