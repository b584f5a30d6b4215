// A git work tree of this machine: which remote commit it stands on and what differs from it.
#pragma once

#include <string>

#include <absl/status/statusor.h>

namespace dstack::cli {

struct WorkTree {
  std::string remote_url;
  std::string branch;  // on the remote
  std::string hash;    // newest commit that the remote has too
  std::string user_name;
  std::string user_email;
  // `git diff --binary` from that commit to the files as they are, untracked ones included, ignored
  // ones not. Empty: nothing differs.
  std::string diff;
};

// Looks into the work tree that `path` lies in; the repository is not changed. INVALID_ARGUMENT: no
// directory, no work tree, no branch checked out, or one that tracks no branch of a remote.
absl::StatusOr<WorkTree> ReadWorkTree(const std::string& path);

}  // namespace dstack::cli
