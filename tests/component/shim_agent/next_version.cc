// Takes the place of libs/base/version.cc: the same programs as another version of the product.
#include "tests/component/shim_agent/next_version.h"

#include "libs/base/version.h"

namespace dstack::base {

std::string_view Version() { return shim::kNextVersion; }

}  // namespace dstack::base
