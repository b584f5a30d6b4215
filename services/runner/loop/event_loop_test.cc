#include "services/runner/loop/event_loop.h"

#include <chrono>
#include <string>
#include <thread>

#include <catch2/catch.hpp>
#include <sys/epoll.h>
#include <unistd.h>

namespace dstack::runner {
namespace {

using namespace std::chrono_literals;

TEST_CASE("posted tasks run in order, and after the end none") {
  EventLoop loop;
  std::string order;
  std::thread poster([&] {
    for (const char c : {'a', 'b', 'c'}) loop.Post([&order, c] { order += c; });
    loop.Post([&] { loop.Stop(); });
  });
  loop.Run();
  poster.join();
  CHECK(order == "abc");
  CHECK_FALSE(loop.Post([] {}));
}

TEST_CASE("timers run in order of their time; a cancelled one does not") {
  EventLoop loop;
  std::string order;
  loop.After(20ms, [&] {
    order += "2";
    loop.Stop();
  });
  loop.After(1ms, [&] { order += "1"; });
  EventLoop::TimerId cancelled = loop.After(2ms, [&] { order += "x"; });
  loop.Cancel(&cancelled);
  CHECK(cancelled == EventLoop::kNoTimer);
  loop.Run();
  CHECK(order == "12");
}

TEST_CASE("a handler may unwatch itself and others") {
  EventLoop loop;
  base::Pipe first = base::MakePipe().value();
  base::Pipe second = base::MakePipe().value();
  REQUIRE(base::WriteAll(first.write.get(), "x").ok());
  REQUIRE(base::WriteAll(second.write.get(), "x").ok());
  int calls = 0;
  const auto handler = [&](std::uint32_t events) {
    CHECK((events & EPOLLIN) != 0);
    ++calls;
    loop.Unwatch(first.read.get());
    loop.Unwatch(second.read.get());
    loop.Stop();
  };
  loop.Watch(first.read.get(), EPOLLIN, handler);
  loop.Watch(second.read.get(), EPOLLIN, handler);
  loop.Run();
  CHECK(calls == 1);
}

}  // namespace
}  // namespace dstack::runner
