// The table of runs of `ps` and `apply`.
#pragma once

#include <string>
#include <vector>

#include "dstack/api/v1/run.pb.h"

#include "clients/cli/render/table.h"
#include "libs/base/clock.h"

namespace dstack::cli {

struct RunTableOptions {
  bool is_verbose = false;
  // Clock times instead of "2 mins ago": for tables that stay on the screen.
  bool has_clock_times = false;
  base::WallTime now;
};

// The runs in the given order, one row each; a run of several jobs has a row for each below it.
Table RunTable(const std::vector<api::v1::Run>& runs, const RunTableOptions& options);

// The newest attempt of a job; nullptr if the job has none.
const api::v1::JobSubmission* LatestSubmission(const api::v1::Job& job);

// Job of that position; nullptr if the run has none.
const api::v1::Job* FindJob(const api::v1::Run& run, uint32_t replica_num, uint32_t job_num);

bool IsFinal(api::v1::RunStatus status);

// "running", "exited (1)", "retrying", ...; the name of the status where the server sends no text.
std::string RunStatusText(const api::v1::Run& run);
std::string JobStatusText(const api::v1::JobSubmission& submission);

}  // namespace dstack::cli
