#include "libs/base/backoff.h"

#include <algorithm>
#include <cmath>

namespace dstack::base {

std::chrono::milliseconds BackoffDelay(const BackoffPolicy& policy, int attempt, Random& random) {
  const double limit = static_cast<double>(policy.max.count());
  // pow() of a large attempt is infinity, which min() turns into the limit.
  const double plain = std::min(limit,
                                static_cast<double>(policy.initial.count()) *
                                    std::pow(policy.multiplier, std::max(attempt, 0)));
  const double jitter = std::clamp(policy.jitter, 0.0, 1.0);
  return std::chrono::milliseconds(std::llround(plain * (1.0 - jitter * random.Uniform())));
}

}  // namespace dstack::base
