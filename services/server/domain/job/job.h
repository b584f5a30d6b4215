#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "dstack/api/v1/run.pb.h"

#include "libs/base/ids.h"
#include "services/server/domain/run/run.h"

namespace dstack::server {

using JobStatus = api::v1::JobStatus;
using JobTerminationReason = api::v1::JobTerminationReason;

// One row of `jobs`: one submission of the job at (replica_num, job_num).
struct Job {
  JobId id;
  RunId run_id;
  ProjectId project_id;
  std::string name;  // <run>-<job_num>-<replica_num>
  std::uint32_t replica_num = 0;
  std::uint32_t job_num = 0;
  std::uint32_t submission_num = 0;
  JobStatus status = api::v1::JOB_STATUS_SUBMITTED;
  JobTerminationReason termination_reason = api::v1::JOB_TERMINATION_REASON_UNSPECIFIED;
  std::string termination_message;
  std::optional<std::int32_t> exit_status;
  // Host whose blocks the job holds; kept after the release for display.
  std::optional<InstanceId> instance_id;
  std::string instance_name;
  std::uint32_t blocks = 0;
  // The blocks were given back: the container is known to be gone, or there never was one.
  bool is_released = true;
  // What the job got, fixed at assignment.
  std::optional<api::v1::Offer> offer;
  std::optional<api::v1::ImagePullProgress> pull_progress;
  // The wish to end it, set when the job goes to TERMINATING: grace before SIGKILL. Absent: not
  // asked.
  std::optional<std::chrono::milliseconds> stop_grace;
  TimePoint submitted_at;
  std::optional<TimePoint> running_at;
  std::optional<TimePoint> finished_at;
  // The host stopped answering at this time while the job was alive.
  std::optional<TimePoint> unreachable_since;
  // Host port of the job's sshd; 0 none.
  std::uint32_t ssh_port = 0;
  // Highest revisions of the agents' reports that were applied: older or equal ones change nothing.
  std::uint64_t task_revision = 0;
  std::uint64_t runner_revision = 0;
  // The end of all logs is stored.
  bool logs_ended = false;
};

bool IsFinal(JobStatus status);
JobStatus FinalStatusOf(JobTerminationReason reason);
std::string Name(JobStatus status);
std::string Name(JobTerminationReason reason);

// Status in words for tables: "exited (0)", "no capacity", "stopped", "running", ... (shown
// verbatim by clients).
std::string StatusMessage(const Job& job);
// Error in a few words; empty when the status message says it all.
std::string ErrorText(const Job& job);

}  // namespace dstack::server
