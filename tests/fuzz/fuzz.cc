#include "tests/fuzz/fuzz.h"

#include <cstdio>
#include <cstdlib>

namespace dstack::fuzz {

void Fail(const char* file, int line, const char* what) {
  std::fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, what);
  std::abort();
}

}  // namespace dstack::fuzz
