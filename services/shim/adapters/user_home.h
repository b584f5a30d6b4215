#pragma once

#include <string>
#include <string_view>

#include <sys/types.h>

namespace dstack::shim {

// Home directory of this user by the text of /etc/passwd, or `fallback` ($HOME of the login, which
// knows users of a directory service too) when it is not there, or "/" when neither is an absolute
// path. Instead of getpwuid, which loads the host's name service plugins: those want the C library
// of the host, and a static program has its own.
std::string HomeOfUser(std::string_view passwd, uid_t uid, const std::string& fallback);

}  // namespace dstack::shim
