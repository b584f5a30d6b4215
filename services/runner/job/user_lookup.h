#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <absl/status/statusor.h>
#include <sys/types.h>

#include "dstack/runner/v1/job.pb.h"

namespace dstack::runner {

// Whom the command runs as.
struct JobUser {
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;  // sorted, with gid
  std::string name;           // the number where there is no name
  std::string home;           // absolute; "/" where there is none
};

// /etc/passwd and /etc/group of the container, parsed by hand: a static program has no NSS.
struct UserFiles {
  std::string passwd;
  std::string group;
};
// Files that do not exist count as empty.
UserFiles LoadUserFiles(const std::string& etc = "/etc");

// What a process of this one gets without any wish.
struct OwnUser {
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;
};
OwnUser GetOwnUser();

// Applies the rules of Docker: a user alone brings its groups from the files, an unknown uid gets
// group 0, a given group replaces all others. An empty `wish` takes `image_user`, the USER of the
// image ("name", "uid", "name:group", "uid:gid"), and, when that is empty too, `own`.
// INVALID_ARGUMENT names a user or group that is not in the files.
absl::StatusOr<JobUser> ResolveUser(const v1::UserSpec& wish,
                                    std::string_view image_user,
                                    const OwnUser& own,
                                    const UserFiles& files);

}  // namespace dstack::runner
