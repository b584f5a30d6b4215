#include "libs/process/signals.h"

#include <catch2/catch.hpp>
#include <signal.h>
#include <unistd.h>

namespace dstack::process {
namespace {

using namespace std::chrono_literals;

TEST_CASE("a blocked signal is waited for") {
  auto waiter = SignalWaiter::Create({SIGUSR1, SIGUSR2});
  REQUIRE(waiter.ok());
  CHECK_FALSE(waiter->WaitUntil(base::DeadlineIn(1ms)).has_value());
  REQUIRE(kill(getpid(), SIGUSR2) == 0);
  CHECK(waiter->WaitUntil(base::DeadlineIn(10s)) == SIGUSR2);
  CHECK_FALSE(waiter->TryTake().has_value());
}

TEST_CASE("writing to a closed pipe is an error, not the end") {
  IgnoreSigpipe();
  auto pipe = base::MakePipe();
  REQUIRE(pipe.ok());
  pipe->read.reset();
  CHECK_FALSE(base::WriteAll(pipe->write.get(), "x").ok());
}

}  // namespace
}  // namespace dstack::process
