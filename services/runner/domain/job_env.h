#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "dstack/runner/v1/job.pb.h"

namespace dstack::runner {

// Environment of the command and what is made from it. Pure functions.

using Environment = std::map<std::string, std::string>;

// Where the job runs; all absolute.
struct JobPlaces {
  std::string working_dir;
  std::string home;
  std::string mpi_hostfile;
  std::string repo_dir;  // empty: the job has no repository
};

// "NAME=value" entries of a process; exported shell functions are left out, the last of two equal
// names wins.
Environment ParseEnvironment(const std::vector<std::string>& entries);

// `inherited` (the container's own) under the DSTACK_* variables, under the job's env, under HOME.
// PATH gets a default when neither has one.
Environment BuildJobEnvironment(const Environment& inherited,
                                const v1::JobSpec& job,
                                const JobPlaces& places);

// "NAME=value" entries for execve.
std::vector<std::string> ToEntries(const Environment& environment);

// True for names that a shell can export.
bool IsShellIdentifier(std::string_view name);

// A shell script that gives a login shell this environment and goes to the working directory.
std::string LoginProfile(const Environment& environment, std::string_view working_dir);

// Lines "address slots=n" (without slots for nodes without accelerators); empty when an address is
// not known.
std::string MpiHostfile(const v1::ClusterInfo& cluster);

}  // namespace dstack::runner
