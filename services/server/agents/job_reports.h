#pragma once

#include <optional>
#include <string>

#include "dstack/runner/v1/job.pb.h"
#include "dstack/shim/v1/task.pb.h"

#include "services/server/domain/job/job.h"

namespace dstack::server {

// What is known of a job from its host. Gathered by the job's driver, applied to the stored row by
// ApplyReports.
struct JobReports {
  // Newest status of the task; absent while the shim does not know it.
  std::optional<shim::v1::TaskStatus> task;
  // Newest status from the runner; absent until it was reached.
  std::optional<runner::v1::JobStatus> runner;
  // The end of all logs is stored, or nothing more will ever come.
  bool logs_ended = false;
  // Nothing of the task is left on the host.
  bool is_task_gone = false;
  // The driver ends the job: used where no agent tells a reason.
  struct Verdict {
    JobTerminationReason reason = api::v1::JOB_TERMINATION_REASON_UNSPECIFIED;
    std::string message;
  };
  std::optional<Verdict> verdict;
};

// How a job ended.
struct JobEnd {
  JobTerminationReason reason = api::v1::JOB_TERMINATION_REASON_UNSPECIFIED;
  std::string message;
  std::optional<std::int32_t> exit_status;
};

// The end that the reports tell; absent while the job goes on. The runner knows best how the
// command ended, then the shim how the container did, then the driver's verdict.
std::optional<JobEnd> EndOf(const JobReports& reports);

// Brings the row up to the reports; true if it changed. Pure; applying the same reports again
// changes nothing, and neither do reports with a revision below the applied one. A reason that is
// there already stays: whoever asked for the end first has named it.
bool ApplyReports(const JobReports& reports, TimePoint now, Job& job);

}  // namespace dstack::server
