#pragma once

#include <string_view>

namespace dstack::base {

// Version of the whole product, for example "0.1.0". All binaries of one build have the same.
std::string_view Version();

}  // namespace dstack::base
