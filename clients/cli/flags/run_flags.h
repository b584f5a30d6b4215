// Flags of `apply` for runs, laid over the document.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <absl/status/status.h>

#include "dstack/config/v1/run.pb.h"

#include "clients/cli/session/environment.h"

namespace dstack::cli {

// Values as typed; empty: not given.
struct RunFlags {
  std::string name;
  std::vector<std::string> env;
  std::string cpu;
  std::string gpu;
  std::string memory;
  std::string disk;
  std::string profile;
  bool no_profile = false;
  std::string max_price;
  std::string max_duration;
  std::vector<std::string> backends;
  std::vector<std::string> regions;
  std::vector<std::string> instance_types;
  std::vector<std::string> fleets;
  bool reuse = false;
  bool dont_destroy = false;
  std::string idle_duration;
  std::string spot_policy;
  bool spot = false;
  bool on_demand = false;
  bool spot_auto = false;
  bool retry = false;
  bool no_retry = false;
  std::string retry_duration;
  std::vector<std::string> ports;
  std::string repo;
  std::string repo_branch;
  std::string repo_hash;
  bool no_repo = false;
  // Credentials for the repository; not laid over the document.
  std::string token;
  std::string git_identity;
  // File with the private key for logging in; the public one lies beside it.
  std::string ssh_identity;
  // Everything after "--".
  std::vector<std::string> arguments;

  // The given ones that a fleet does not understand: all but --name and --env.
  std::vector<std::string> RunOnlyFlags() const;
};

// Replaces what the flags name; lists replace lists, variables and ports are merged. Reports all
// wrong flags at once, each as "--flag: rule".
absl::Status ApplyRunFlags(const RunFlags& flags, config::v1::RunConfiguration* run);

// Lays NAME=VALUE and NAME over the list.
absl::Status MergeEnv(const std::vector<std::string>& texts,
                      google::protobuf::RepeatedPtrField<config::v1::EnvVar>* env);

// Gives variables without a value that of the client's environment. Names all that are missing.
absl::Status FillEnv(const Environment& environment,
                     google::protobuf::RepeatedPtrField<config::v1::EnvVar>* env);

}  // namespace dstack::cli
