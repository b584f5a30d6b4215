#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "dstack/api/v1/run.pb.h"

#include "clients/cli/files/archive.h"
#include "clients/cli/session/connection.h"
#include "clients/cli/session/environment.h"

namespace dstack::cli {

// Packs the files that the configuration names, and sets RunSpec.files. Paths that are relative
// start from the directory of the document; `document_directory` is empty for standard input, where
// only absolute paths can be resolved. Errors name the path.
absl::StatusOr<std::vector<Archive>> PackFiles(Connection& connection,
                                               const Environment& environment,
                                               const std::string& document_directory,
                                               api::v1::RunSpec* spec);

// Largest file that the server takes, bytes; 0: no limit.
absl::StatusOr<uint64_t> UploadLimit(Connection& connection);

// Sends the archives that the server does not have.
absl::Status UploadMissing(Connection& connection, const std::vector<Archive>& archives);

}  // namespace dstack::cli
