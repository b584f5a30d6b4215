#include "libs/base/version.h"

#include "dstack_version_info.h"

namespace dstack::base {

std::string_view Version() { return DSTACK_VERSION; }

}  // namespace dstack::base
