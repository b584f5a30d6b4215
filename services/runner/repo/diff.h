#pragma once

#include <string>

#include <absl/status/status.h>

#include "services/runner/repo/git.h"

namespace dstack::runner {

// Applies a diff in git's format to the files of the repository that `git` runs in; nothing of its
// .git changes, nor anything outside it. FAILED_PRECONDITION: it does not fit the commit, is
// damaged, or names a path that is not the repository's; see Git::Run.
absl::Status ApplyDiff(Git& git, std::string diff);

}  // namespace dstack::runner
