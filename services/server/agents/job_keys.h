#pragma once

#include <cstdint>

#include "dstack/runner/v1/job.pb.h"

#include "absl/status/statusor.h"
#include "libs/base/ids.h"
#include "libs/base/secret.h"
#include "libs/ssh/keys.h"

namespace dstack::server {

// Host key of a job's sshd, derived from the job's id under the installation's key as RunnerToken
// is: known before the job runs, to every replica, and stored nowhere.
absl::StatusOr<ssh::KeyPair> JobHostKey(const base::Secret& token_key, const JobId& job);

// Key with which the nodes of one replica of a run reach each other.
absl::StatusOr<ssh::KeyPair> ClusterKey(const base::Secret& token_key,
                                        const RunId& run,
                                        std::uint32_t replica_num);

// Adds both to the spec of a job; the second one for replicas of several nodes.
void AddJobKeys(const base::Secret& token_key, const RunId& run, runner::v1::JobSpec* spec);

}  // namespace dstack::server
