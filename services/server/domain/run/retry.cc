#include "services/server/domain/run/retry.h"

#include <algorithm>
#include <array>

#include "dstack/config/v1/profile.pb.h"

namespace dstack::server {
namespace {

using namespace std::chrono_literals;

std::optional<config::v1::RetryEvent> EventOf(const Job& job) {
  switch (job.termination_reason) {
    case api::v1::JOB_TERMINATION_REASON_FAILED_TO_START_DUE_TO_NO_CAPACITY:
      return config::v1::RETRY_EVENT_NO_CAPACITY;
    case api::v1::JOB_TERMINATION_REASON_INTERRUPTED_BY_NO_CAPACITY:
      return config::v1::RETRY_EVENT_INTERRUPTION;
    default:
      if (FinalStatusOf(job.termination_reason) == api::v1::JOB_STATUS_FAILED)
        return config::v1::RETRY_EVENT_ERROR;
      return std::nullopt;
  }
}

bool Covers(const config::v1::RetryPolicy& policy, config::v1::RetryEvent event) {
  if (!policy.enabled()) return false;
  if (policy.on_events().empty()) return true;
  return std::find(policy.on_events().begin(), policy.on_events().end(), event) !=
         policy.on_events().end();
}

// The last moment at which a submission of this position had a host, if ever.
std::optional<TimePoint> LastCapacity(const std::vector<Job>& submissions, TimePoint now) {
  for (auto job = submissions.rbegin(); job != submissions.rend(); ++job) {
    if (job->instance_id.has_value()) return job->finished_at.value_or(now);
  }
  return std::nullopt;
}

}  // namespace

RetryVerdict JudgeRetry(const Run& run, const std::vector<Job>& submissions, TimePoint now) {
  const config::v1::RetryPolicy& policy = run.spec.configuration().profile().retry();
  const Job& failed = submissions.back();
  const auto event = EventOf(failed);
  if (!event.has_value() || !Covers(policy, *event)) return RetryVerdict::kNotCovered;
  const auto capacity = LastCapacity(submissions, now);
  if (!capacity.has_value() && *event == config::v1::RETRY_EVENT_ERROR)
    return RetryVerdict::kNotCovered;
  const auto limit =
      std::chrono::seconds(policy.has_duration() ? policy.duration().seconds() : 3600);
  // Without capacity so far the clock runs from the submission; later from the end of the last
  // attempt that had a host.
  const TimePoint since = capacity.value_or(run.submitted_at);
  return now - since > limit ? RetryVerdict::kExceeded : RetryVerdict::kRetry;
}

std::chrono::seconds RetryDelay(std::uint32_t attempt) {
  static constexpr std::array<std::chrono::seconds, 6> kDelays = {
      15s, 30s, 1min, 2min, 5min, 10min};
  const std::size_t index = attempt == 0 ? 0 : attempt - 1;
  return kDelays[std::min(index, kDelays.size() - 1)];
}

}  // namespace dstack::server
