// What command line flags do to a configuration. Flags beat the file and the profile; texts have
// the grammar of the file. Errors are INVALID_ARGUMENT with the field and the rule.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "dstack/config/v1/fleet.pb.h"
#include "dstack/config/v1/profile.pb.h"
#include "dstack/config/v1/run.pb.h"

namespace dstack::config {

// `key` is `cpu`, `gpu`, `memory`, `disk` or `shm_size`; replaces that entry whole:
// SetResource("gpu", "A100:2", run.mutable_resources()).
absl::Status SetResource(std::string_view key, std::string_view text, v1::Resources* resources);

// `K=V`, or `K` for a value from the client's environment. Replaces a variable of that name.
absl::Status SetEnv(std::string_view text, google::protobuf::RepeatedPtrField<v1::EnvVar>* env);

// Gives variables without a value theirs from the environment of this process. The error names all
// that are not set.
absl::Status ResolveEnv(google::protobuf::RepeatedPtrField<v1::EnvVar>* env);

// Merges `-p` mappings by container port; a flag wins. Refused: a container port or a fixed local
// port that is used twice.
absl::Status MergePorts(const std::vector<std::string>& texts,
                        google::protobuf::RepeatedPtrField<v1::PortMapping>* ports);

// `spot`, `on-demand` or `auto`.
absl::StatusOr<v1::SpotPolicy> ParseSpotPolicy(std::string_view text);

// Replaces `fleets` by these references, each `NAME` or `PROJECT/NAME`.
absl::Status SetFleets(const std::vector<std::string>& texts, v1::ProfileParams* params);

// `--max-duration`, `--idle-duration`, `--retry-duration`.
absl::Status SetMaxDuration(std::string_view text, v1::ProfileParams* params);
absl::Status SetIdleDuration(std::string_view text, v1::ProfileParams* params);
absl::Status SetRetryDuration(std::string_view text, v1::ProfileParams* params);

}  // namespace dstack::config
