#pragma once

#include <chrono>

#include "libs/base/random.h"

namespace dstack::base {

// Exponential backoff with jitter.
struct BackoffPolicy {
  std::chrono::milliseconds initial{100};
  std::chrono::milliseconds max{30'000};
  double multiplier = 2.0;
  // Share of the delay that is random: 0.2 gives 80% to 100% of the plain delay.
  double jitter = 0.2;
};

// Delay before attempt number `attempt` (0: the first retry). A pure function of its arguments, so
// that the attempt can be kept in a row and survive a restart. Never above `policy.max`.
std::chrono::milliseconds BackoffDelay(const BackoffPolicy& policy, int attempt, Random& random);

// The same with the counter inside. Not thread-safe.
class Backoff {
 public:
  // `random` outlives this object.
  Backoff(BackoffPolicy policy, Random& random) : policy_(policy), random_(random) {}

  std::chrono::milliseconds Next() { return BackoffDelay(policy_, attempt_++, random_); }
  void Reset() { attempt_ = 0; }
  int attempt() const { return attempt_; }

 private:
  BackoffPolicy policy_;
  Random& random_;
  int attempt_ = 0;
};

}  // namespace dstack::base
