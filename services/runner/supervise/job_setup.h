#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include <absl/status/statusor.h>

#include "dstack/runner/v1/job.pb.h"

#include "services/runner/domain/job_env.h"
#include "services/runner/job/home_files.h"
#include "services/runner/job/launcher.h"
#include "services/runner/job/places.h"
#include "services/runner/state/task_dir.h"
#include "services/runner/supervise/runner_log.h"

namespace dstack::runner {

// Facts of the place where the supervisor was started.
struct Surroundings {
  Environment environment;
  std::string initial_dir;
  // Directory for files that the job may read: /dstack in a container.
  std::string shared_dir;
  // Of the sshd of every node of a replica.
  std::uint16_t ssh_port = 10022;
  // False on a host without containers: nothing outside the task's directory may be changed.
  bool is_container = false;
};

struct PreparedJob {
  LaunchSpec launch;
  JobUser user;
  Environment environment;
  // Removes the credentials in the user's home; lives as long as the command.
  std::unique_ptr<HomeFiles> home_files;
};

// Everything before the start of the command: user, working directory (made when absent), hostfile,
// environment, program. Tells the job's owner what it does. Errors name user, directory or file.
absl::StatusOr<PreparedJob> PrepareJob(const v1::JobSpec& job,
                                       const TaskDir& dir,
                                       const Surroundings& surroundings,
                                       RunnerLog& log);

// Gives login shells (ssh) the environment of the job. Failures are told in the log.
void WriteLoginProfile(const PreparedJob& job, const Surroundings& surroundings, RunnerLog& log);

}  // namespace dstack::runner
