#pragma once

#include <string>
#include <string_view>

namespace dstack::shim {

// The engine's description of a container for people: indented, and of its environment only the
// names. Empty when the text is no JSON object.
std::string DescribeContainer(std::string_view inspect_body);

}  // namespace dstack::shim
