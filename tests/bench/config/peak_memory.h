// Memory of a piece of work. Linking this replaces the operators new and delete of a program.
#pragma once

#include <cstddef>

namespace dstack::bench {

// What is allocated at once between construction and bytes(), beyond what was allocated before. One
// at a time, on one thread.
class PeakMemory {
 public:
  PeakMemory();

  size_t bytes() const;

 private:
  size_t before_;
};

}  // namespace dstack::bench
