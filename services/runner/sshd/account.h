#pragma once

#include <string>
#include <string_view>

#include <absl/status/status.h>

#include "services/runner/job/user_lookup.h"

namespace dstack::runner {

// Changes to the account files of a container so that logins by key work. Pure functions on the
// content of the files; nothing means that no change is needed.

// passwd with the user that sshd separates its privileges with.
std::string WithSshdUser(std::string_view passwd);

// shadow in which `user` is not locked ("!"): without PAM sshd lets no locked account in, keys or
// not. The account still has no password.
std::string WithUnlockedUser(std::string_view shadow, std::string_view user);

// passwd with an entry for a user that has none: ssh and sshd know no users by number alone. With
// a login shell of the image, else with our own program, which says that there is none (sftp and
// forwards work all the same).
std::string WithJobUser(std::string_view passwd, const JobUser& user, const std::string& shell);

// The image's shell, see WithJobUser.
std::string FindShell();

// Applies all of it below `etc` and makes the directory that sshd changes its root to. Needs root.
absl::Status PrepareAccounts(const JobUser& user, const std::string& etc = "/etc");

// Where `etc` cannot be changed: writes `dir`/passwd, which is that of `etc` and all of the above,
// and makes the empty directory `dir`/empty. `etc` stays as it is.
absl::Status WriteOwnAccounts(const JobUser& user,
                              const std::string& dir,
                              const std::string& etc = "/etc");

// True when sshd finds its user and directory.
bool HasSshdAccount(const std::string& etc = "/etc");

}  // namespace dstack::runner
