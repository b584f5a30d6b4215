#pragma once

#include <string>
#include <string_view>

// Where tests find things. Taken from the running program (<build>/test-bin/x), so that nothing
// about the machine is compiled in.
namespace dstack::testing {

// Root of the repository.
std::string SourceDir();
// Build directory.
std::string BuildDir();
// Program of this build, for example Binary("dstack-server"). It may not have been built.
std::string Binary(std::string_view name);
// The same, to run where there is no C library, as in a container. With a sanitizer, whose runtime
// cannot be linked statically, it is built without.
std::string StaticBinary(std::string_view name);

}  // namespace dstack::testing
