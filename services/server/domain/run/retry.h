#pragma once

#include <chrono>
#include <optional>
#include <vector>

#include "dstack/api/v1/run.pb.h"

#include "services/server/domain/job/job.h"
#include "services/server/domain/run/run.h"

namespace dstack::server {

// Whether and when a job that ended without success is tried again.
enum class RetryVerdict {
  kNotCovered,  // no retry policy, or it does not name this kind of end
  kExceeded,    // covered, but retry.duration is over
  kRetry,
};

// `submissions`: all submissions of one (replica, job), oldest first; the last one has failed.
RetryVerdict JudgeRetry(const Run& run, const std::vector<Job>& submissions, TimePoint now);

// Wait before submission number `attempt` (1, 2, ...): 15 s, 30 s, 1, 2, 5, then 10 min each.
std::chrono::seconds RetryDelay(std::uint32_t attempt);

}  // namespace dstack::server
