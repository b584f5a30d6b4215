// What users write for mounts, files and repositories.
#pragma once

#include <string>
#include <string_view>

#include <absl/status/statusor.h>

#include "dstack/config/v1/run.pb.h"

namespace dstack::config {

// An absolute path without `.` components and needless slashes (a leading `//` stays). Refused:
// empty, relative, with a `..` component or a control character. The error message is the rule,
// here and below.
absl::StatusOr<std::string> NormaliseAbsolutePath(std::string_view path);

// `volume:/path`, or `/host/path:/path` where the source has a `/`. Paths are normalised.
absl::StatusOr<v1::VolumeMount> ParseMount(std::string_view text);

// `path` (the same on both sides) or `local:path`. A Windows drive stays with its path.
absl::StatusOr<v1::FileMapping> ParseFileMapping(std::string_view text);

// `SRC` or `SRC:PATH`, where SRC is a local path, `https://`, `ssh://` or `user@host:path`. A port
// in an address (`https://host:8443/r`) stays with it, unlike in the reference system.
absl::StatusOr<v1::RepoSpec> ParseRepo(std::string_view text);

// The rules for paths in mapping form.
absl::Status CheckFileTarget(std::string_view path);
absl::Status CheckRepoTarget(std::string_view path);

}  // namespace dstack::config
