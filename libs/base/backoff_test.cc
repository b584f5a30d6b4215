#include "libs/base/backoff.h"

#include <catch2/catch.hpp>

#include "libs/base/clock.h"

namespace dstack::base {
namespace {

using std::chrono::milliseconds;

class FixedRandom final : public Random {
 public:
  explicit FixedRandom(double value) : value_(value) {}
  double Uniform() override { return value_; }

 private:
  double value_;
};

TEST_CASE("the delay doubles up to the limit") {
  FixedRandom none(0.0);
  const BackoffPolicy policy{.initial = milliseconds(100), .max = milliseconds(1000)};
  CHECK(BackoffDelay(policy, 0, none) == milliseconds(100));
  CHECK(BackoffDelay(policy, 1, none) == milliseconds(200));
  CHECK(BackoffDelay(policy, 4, none) == milliseconds(1000));
  CHECK(BackoffDelay(policy, 1'000'000, none) == milliseconds(1000));
  CHECK(BackoffDelay(policy, -3, none) == milliseconds(100));
}

TEST_CASE("jitter only shortens") {
  FixedRandom half(0.5);
  const BackoffPolicy policy{.initial = milliseconds(1000), .jitter = 0.4};
  CHECK(BackoffDelay(policy, 0, half) == milliseconds(800));
}

TEST_CASE("a seed repeats the sequence") {
  SeededRandom a(7);
  SeededRandom b(7);
  Backoff first({}, a);
  Backoff second({}, b);
  for (int i = 0; i < 10; ++i) CHECK(first.Next() == second.Next());
  CHECK(first.attempt() == 10);
  first.Reset();
  CHECK(first.attempt() == 0);
}

TEST_CASE("a deadline far away does not overflow") {
  const MonotonicTime now = RealClock().MonotonicNow();
  CHECK(DeadlineAfter(now, Duration::max()) == kNoDeadline);
  CHECK(DeadlineAfter(kNoDeadline, std::chrono::seconds(1)) == kNoDeadline);
  CHECK(DeadlineAfter(now, std::chrono::seconds(1)) == now + std::chrono::seconds(1));
}

}  // namespace
}  // namespace dstack::base
