#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <sys/types.h>

#include "services/shim/domain/authorized_keys.h"

namespace dstack::shim {

// An account of the host, as /etc/passwd has it.
struct HostAccount {
  std::string name;
  uid_t uid = 0;
  gid_t gid = 0;
  std::string home;
};

// By the text of /etc/passwd, for the reason told in user_home.h. NOT_FOUND names the account.
absl::StatusOr<HostAccount> FindAccount(std::string_view passwd, const std::string& name);

// "<home>/.ssh/authorized_keys".
std::string AuthorizedKeysPath(const HostAccount& account);

// Makes the account's authorized_keys file have exactly these keys of this owner, and leaves all
// other lines as they are. The file is replaced in one step and keeps owner and mode; a missing one
// is made (0600, .ssh 0700) when there are keys. The content before is kept in authorized_keys.bak.
// A file or directory that is a symbolic link, or that belongs neither to the account nor to the
// superuser, is refused: the account must not lead us elsewhere. Blocks.
absl::Status WriteJumpKeys(const HostAccount& account,
                           const std::vector<JumpKey>& keys,
                           std::string_view owner);

}  // namespace dstack::shim
