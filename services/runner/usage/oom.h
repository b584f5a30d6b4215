#pragma once

#include <cstdint>

namespace dstack::runner {

// How often the kernel killed a process of this cgroup because memory ran out.
struct OomCounter {
  std::uint64_t kills = 0;
  std::uint64_t limit_bytes = 0;  // 0 unknown

  // Zeros where the cgroup cannot be read.
  static OomCounter Read();
};

}  // namespace dstack::runner
