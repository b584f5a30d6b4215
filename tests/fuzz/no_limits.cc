#include "tests/fuzz/fuzz.h"

namespace dstack::fuzz {

Measured::Measured() = default;
Measured::~Measured() = default;

}  // namespace dstack::fuzz
