// The repository of a run, from the document and the flags.
#pragma once

#include <optional>
#include <string>

#include <absl/status/statusor.h>

#include "dstack/api/v1/run.pb.h"

#include "clients/cli/files/archive.h"
#include "clients/cli/flags/run_flags.h"
#include "clients/cli/session/environment.h"

namespace dstack::cli {

struct PreparedRepo {
  // The diff to upload; absent: none.
  std::optional<Archive> diff;
  // For people; empty: nothing to say.
  std::string note;
};

// Sets RunSpec.repo where the configuration has `repos`. A local path is relative to the directory
// of the document (`document_directory`, empty for standard input). `limit_bytes`: largest diff
// that the server takes; 0 means no limit.
absl::StatusOr<PreparedRepo> PrepareRepo(const Environment& environment,
                                         const RunFlags& flags,
                                         const std::string& document_directory,
                                         uint64_t limit_bytes,
                                         api::v1::RunSpec* spec);

// The biggest files of a diff, for the message that it is too large. Pure.
std::string LargestParts(const std::string& diff);

}  // namespace dstack::cli
