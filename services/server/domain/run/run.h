#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "dstack/api/v1/run.pb.h"

#include "libs/base/ids.h"

namespace dstack::server {

// The vocabulary of states and reasons is that of the contract; the domain adds no words of its own
// to it.
using RunStatus = api::v1::RunStatus;
using RunTerminationReason = api::v1::RunTerminationReason;

using TimePoint = std::chrono::system_clock::time_point;

// One row of `runs`. Plain data: only the store and the pure functions of this directory write it.
struct Run {
  RunId id;
  ProjectId project_id;
  std::string project_name;
  UserId user_id;
  std::string user_name;
  std::string name;
  // As submitted, defaults filled in.
  api::v1::RunSpec spec;
  RunStatus status = api::v1::RUN_STATUS_SUBMITTED;
  RunTerminationReason termination_reason = api::v1::RUN_TERMINATION_REASON_UNSPECIFIED;
  std::uint32_t priority = 0;
  // Fleet that the run is bound to from its first assignment on; empty while unbound.
  std::optional<FleetId> fleet_id;
  std::string fleet_name;
  // Attempts since the run last reached PROVISIONING; decides the delay in PENDING.
  std::uint32_t resubmission_attempt = 0;
  // When a PENDING run goes on, or when the next deadline of an active one must be looked at.
  // Absent: no timer.
  std::optional<TimePoint> next_wakeup_at;
  TimePoint submitted_at;
  std::optional<TimePoint> finished_at;
  // Counts the changes of the run and of its jobs.
  std::uint64_t version = 1;
};

bool IsFinal(RunStatus status);

// Final status that a reason leads to.
RunStatus FinalStatusOf(RunTerminationReason reason);

// Lower-case word of a status or reason as users know it: "running", "stopped_by_user".
std::string Name(RunStatus status);
std::string Name(RunTerminationReason reason);

// Status in words for tables. `newest_job_message` is the StatusMessage of the run's only job,
// empty for runs with several.
std::string StatusMessage(const Run& run,
                          const std::string& newest_job_message,
                          bool is_pulling,
                          bool is_retrying);
// Error in words; empty when there is none or the jobs say it.
std::string ErrorText(const Run& run);

}  // namespace dstack::server
