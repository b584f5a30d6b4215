#pragma once

#include <string>
#include <vector>

#include <absl/status/statusor.h>

namespace dstack::runner {

// argv that runs `program` ("bin/git") of the bundle wherever it lies, through its own loader and
// libraries. `argv0`: the name that the program sees; empty: its path. NOT_FOUND without a loader.
absl::StatusOr<std::vector<std::string>> BundleCommand(const std::string& bundle_dir,
                                                       const std::string& program,
                                                       const std::string& argv0 = "");

// The same command with the library that lets ssh and sshd live without the system's account files:
// they read kAccountsPasswd (a file like /etc/passwd), and sshd shuts itself up in
// kAccountsChrootDir.
void UseOwnAccounts(const std::string& bundle_dir, std::vector<std::string>* command);

// Variables of that library.
inline constexpr char kAccountsPasswd[] = "DSTACK_SSHD_PASSWD";
inline constexpr char kAccountsChrootDir[] = "DSTACK_SSHD_CHROOT_DIR";

}  // namespace dstack::runner
