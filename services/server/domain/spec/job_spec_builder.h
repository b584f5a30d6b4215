#pragma once

#include <string>
#include <vector>

#include "dstack/api/v1/run.pb.h"
#include "dstack/runner/v1/job.pb.h"
#include "dstack/shim/v1/task.pb.h"

#include "services/server/domain/job/job.h"
#include "services/server/domain/run/run.h"

namespace dstack::server {

// Jobs of a new run: one submission for each (replica, job), status SUBMITTED, without ids.
std::vector<Job> BuildJobs(const api::v1::RunSpec& effective_spec);

// What a task needs beside its run and job.
struct TaskSettings {
  std::string runner_token;
  std::vector<std::string> container_ssh_keys;
  std::string docker_image;  // of runs with `docker: true`
};

// The task of a job for the shim of the host that it was assigned to. Deterministic: the same job
// and settings give the same task.
shim::v1::TaskSpec BuildTaskSpec(const Run& run, const Job& job, const TaskSettings& settings);

// The job for its runner. `fleet_env` lies under the run's own environment.
runner::v1::JobSpec BuildJobSpec(const Run& run,
                                 const Job& job,
                                 const std::vector<std::pair<std::string, std::string>>& fleet_env);

// Grace between SIGTERM and SIGKILL of a stop: stop_duration of the run, 300 s by default, at most
// one day, which "off" means too.
std::chrono::milliseconds StopGrace(const api::v1::RunSpec& effective_spec);

// How long a silent host is believed to go on with the run's jobs; zero: the run does not say, the
// server's setting holds.
std::chrono::milliseconds HostLostAfter(const api::v1::RunSpec& effective_spec);

}  // namespace dstack::server
