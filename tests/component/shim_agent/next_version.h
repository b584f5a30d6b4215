#pragma once

namespace dstack::shim {

// What next_shim and next_runner say they are.
inline constexpr char kNextVersion[] = "99.1.0";

}  // namespace dstack::shim
