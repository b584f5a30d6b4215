#pragma once

#include <vector>

#include "libs/base/uuid.h"
#include "services/server/domain/job/job.h"
#include "services/server/domain/run/run.h"

namespace dstack::server {

// What a run becomes after one of its jobs or the time changed.
struct RunChange {
  bool is_changed = false;
  Run run;
  // Existing jobs that changed, with their new content.
  std::vector<Job> changed_jobs;
  // New submissions of failed jobs (retry).
  std::vector<Job> new_jobs;
};

// The one place where a run's status is decided. Pure: reads the run, all its jobs and the time;
// makes ids for new submissions with `ids`. A final run never changes. Applying it to its own
// result changes nothing. Rules: newest submission of each (replica, job) counts; see the table in
// ARCHITECTURE.md.
RunChange RollUp(const Run& run, const std::vector<Job>& jobs, TimePoint now, base::IdSource& ids);

// The wish of a person to end a run. A final run does not change; an abort overrides a stop in
// progress.
RunChange StopRun(const Run& run, const std::vector<Job>& jobs, bool is_abort, TimePoint now);

}  // namespace dstack::server
